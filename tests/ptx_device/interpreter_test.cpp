// What the device for PTX computes.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/ptx_device/written_kernels.h"

namespace dsl::test::ptx {
namespace {

using InterpreterTest = WrittenKernels;

TEST_F(InterpreterTest, LanesPartAndMeetAgain) {
  // Odd lanes loop as often as their number says, then all add up what their neighbours have.
  const auto words = run(R"(
mov.u32 %r1, 0;
and.b32 %r2, %r0, 1;
setp.eq.s32 %p0, %r2, 0;
@%p0 bra $MEET;
$LOOP:
add.s32 %r1, %r1, 3;
setp.lt.u32 %p1, %r1, %r0;
@%p1 bra $LOOP;
$MEET:
shfl.sync.bfly.b32 %r3|%p2, %r1, 1, 31, -1;
st.global.u32 [%rd2], %r3;
ret;
)");
  for (std::uint32_t thread = 0; thread < 64; ++thread) {
    const std::uint32_t odd = thread + 1;
    EXPECT_EQ(words[thread], thread % 2 == 1 ? 0 : (odd + 2) / 3 * 3) << thread;
  }
}

TEST_F(InterpreterTest, WarpsExchangeWordsAtABarrier) {
  const auto words = run(R"(
.reg .b32 %address, %other;
mov.u32 %address, shared_bytes;
shl.b32 %r1, %r0, 2;
add.s32 %r2, %address, %r1;
st.shared.u32 [%r2], %r0;
bar.sync 0;
xor.b32 %other, %r1, 252;
add.s32 %r3, %address, %other;
ld.shared.u32 %r4, [%r3];
st.global.u32 [%rd2], %r4;
ret;
)");
  for (std::uint32_t thread = 0; thread < 64; ++thread) EXPECT_EQ(words[thread], 63 - thread);
}

TEST_F(InterpreterTest, PacksRoundsAndPermutes) {
  const auto words = run(R"(
mov.f32 %f0, 0f3FC08000; // 1.50390625: a tie between two BF16, of which 1.5 is even
mov.f32 %f1, 0fBF800000;
cvt.rn.bf16x2.f32 %r1, %f1, %f0;
mov.b32 {%rs0, %rs1}, %r1;
mov.b32 %r2, {%rs1, %rs0};
prmt.b32 %r3, %r2, %r1, 0x5410;
st.global.u32 [%rd2], %r3;
ret;
)");
  EXPECT_EQ(words[0], 0x3fc0bf80u);
  const auto alone = run(R"(
mov.f32 %f0, 0f3FC08001; // a little more than the tie
cvt.rn.bf16.f32 %rs0, %f0;
cvt.u32.u16 %r1, %rs0;
st.global.u32 [%rd2], %r1;
ret;
)");
  EXPECT_EQ(alone[0], 0x3fc1u);
  const auto codes = [&](const char* upper, const char* lower) {
    return run("mov.f32 %f0, 0f" + std::string(upper) + ";\nmov.f32 %f1, 0f" + lower +
               ";\ncvt.rn.satfinite.e4m3x2.f32 %rs0, %f0, %f1;\ncvt.u32.u16 %r1, %rs0;\n"
               "st.global.u32 [%rd2], %r1;\nret;")[0];
  };
  EXPECT_EQ(codes("3F800000", "C2080000"), 0x38e0u);  // 1 and -34, a tie between -32 and -36
  EXPECT_EQ(codes("43E00000", "C7000000"), 0x7efeu);  // 448, and -32768
  EXPECT_EQ(codes("7FC00000", "3B400000"), 0x7f02u);  // NaN, and a tie of two subnormals
}

TEST_F(InterpreterTest, EdgesOfArithmeticAreTheIsas) {
  const auto result = [&](std::string_view body) {
    return run(std::string(body) + "\nst.global.u32 [%rd2], %r7;\nret;")[0];
  };
  // Further than the width is all the way; the sign stays.
  EXPECT_EQ(result("mov.u32 %r1, -8;\nshr.s32 %r7, %r1, 40;"), 0xffffffffu);
  EXPECT_EQ(result("mov.u32 %r1, 8;\nshl.b32 %r7, %r1, 32;"), 0u);
  EXPECT_EQ(result("mov.u32 %r1, -3;\nmov.u32 %r2, 0x40000000;\nmul.hi.s32 %r7, %r1, %r2;"),
            0xffffffffu);
  EXPECT_EQ(result("mov.u32 %r1, 0x80000000;\nmov.u32 %r2, -1;\ndiv.s32 %r7, %r1, %r2;"),
            0x80000000u);
  EXPECT_EQ(result("mov.u32 %r1, -7;\nmov.u32 %r2, 2;\nrem.s32 %r7, %r1, %r2;"), 0xffffffffu);
  EXPECT_EQ(result("mov.u32 %r1, 5;\nmov.u32 %r2, -1;\nbfi.b32 %r7, %r1, %r2, 4, 3;"), 0xffffffdfu);
  // What does not fit becomes the nearest that does, NaN zero.
  EXPECT_EQ(result("mov.f32 %f0, 0f4F800000;\ncvt.rzi.s32.f32 %r7, %f0;"), 0x7fffffffu);
  EXPECT_EQ(result("mov.f32 %f0, 0f7FC00000;\ncvt.rzi.u32.f32 %r7, %f0;"), 0u);
  // 1 + 2^-30, rounded down, and 1 - 2^-30.
  EXPECT_EQ(
      result("mov.f32 %f0, 0f38000000;\nmov.f32 %f1, 0f3F800000;\nfma.rm.f32 %f2, %f0, %f0, %f1;\n"
             "mov.b32 %r7, %f2;"),
      0x3f800000u);
  EXPECT_EQ(result("mov.f32 %f0, 0f38000000;\nneg.f32 %f3, %f0;\nmov.f32 %f1, 0f3F800000;\n"
                   "fma.rm.f32 %f2, %f0, %f3, %f1;\nmov.b32 %r7, %f2;"),
            0x3f7fffffu);
}

TEST_F(InterpreterTest, CopiesArriveWhenTheyAreWaitedFor) {
  for (std::uint32_t i = 0; i < 64; ++i) words_[i] = i;
  const auto words = run(R"(
mov.u32 %r1, shared_bytes;
shl.b32 %r2, %r0, 2;
add.s32 %r3, %r1, %r2;
st.shared.u32 [%r3], 7;
cp.async.ca.shared.global [%r3], [%rd2], 4;
cp.async.commit_group;
cp.async.wait_group 0;
ld.shared.u32 %r5, [%r3];
st.global.u32 [%rd2], %r5;
ret;
)");
  for (std::uint32_t i = 0; i < 64; ++i) EXPECT_EQ(words[i], i);
}

TEST_F(InterpreterTest, RefusesWhatItDoesNotKnow) {
  EXPECT_TRUE(tells(fault_of("wgmma.wait_group.sync.aligned 1;\nret;"), "waits for all groups"));
  EXPECT_TRUE(tells(fault_of("sin.approx.f32 %f0, %f1;\nret;"), "does not know the instruction"));
  EXPECT_TRUE(tells(fault_of("add.s32 %r1, %rd1, %r2;\nret;"), "has 8 bytes instead of 4"));
  EXPECT_TRUE(tells(fault_of("mov.u32 %r1, %r99;\nret;"), "%r99"));
  EXPECT_TRUE(tells(fault_of("bra $NOWHERE;"), "no label $NOWHERE"));
}

}  // namespace
}  // namespace dsl::test::ptx
