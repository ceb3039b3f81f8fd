// The device for PTX, with kernels that are written here: what it computes, and which faults of a
// kernel it finds.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/global_memory.h"
#include "tests/ptx_device/kernel.h"
#include "tests/ptx_device/module.h"

namespace dsl::test::ptx {
namespace {

constexpr std::string_view kDeclarations = R"(
.reg .pred %p<8>;
.reg .b16 %rs<8>;
.reg .b32 %r<16>;
.reg .b64 %rd<16>;
.reg .f32 %f<8>;
ld.param.u64 %rd0, [words];
mov.u32 %r0, %tid.x;
mul.wide.u32 %rd1, %r0, 4;
add.s64 %rd2, %rd0, %rd1; // this thread's word
)";

/// A kernel of one parameter, the address of words.
std::string entry(std::string_view body) {
  return std::string(".visible .entry kernel(\n.param .u64 words\n)\n{") +
         std::string(kDeclarations) + std::string(body) + "\n}\n";
}

class InterpreterTest : public ::testing::Test {
 protected:
  void TearDown() override { recent_stores().forget(); }

  /// Every thread's word after the kernel has run.
  std::vector<std::uint32_t> run(std::string_view body, GridShape shape) {
    Module module(entry(body));
    const auto* const data = reinterpret_cast<std::byte*>(words_.data());
    const auto address = reinterpret_cast<std::uint64_t>(data);
    std::array<std::byte, sizeof(address)> parameters;
    std::memcpy(parameters.data(), &address, sizeof(address));
    const std::array<MemoryArea, 1> memory = {MemoryArea{
        reinterpret_cast<std::byte*>(words_.data()), words_.size() * sizeof(std::uint32_t)}};
    run_grid(module.kernel("kernel"), shape, parameters, memory);
    return words_;
  }
  std::vector<std::uint32_t> run(std::string_view body) {
    return run(body, {.threads = 64, .shared_bytes = 1024});
  }

  std::string fault_of(std::string_view body, GridShape shape) {
    try {
      run(body, shape);
    } catch (const Fault& fault) {
      return fault.what();
    }
    return "no fault";
  }
  std::string fault_of(std::string_view body) {
    return fault_of(body, {.threads = 64, .shared_bytes = 1024});
  }

  std::vector<std::uint32_t> words_ = std::vector<std::uint32_t>(64);
};

::testing::AssertionResult tells(const std::string& fault, std::string_view part) {
  if (fault.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "'" << fault << "' does not tell of '" << part << "'";
}

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

TEST_F(InterpreterTest, FindsWhatIsUsedWhileACopyToItIsUnderWay) {
  const auto fault_between = [&](const std::string& begun, const std::string& use) {
    return fault_of(R"(
mov.u32 %r1, shared_bytes;
shl.b32 %r2, %r0, 2;
add.s32 %r3, %r1, %r2;
cp.async.ca.shared.global [%r3], [%rd2], 4;
cp.async.commit_group;
)" + begun + use + "\ncp.async.wait_group 0;\nret;");
  };
  // The last group is not waited for, though another one behind it was to be.
  const std::string one_too_few = "cp.async.wait_group 1;\nbar.sync 0;\n";
  const std::string empty_group = "cp.async.commit_group;\n";
  constexpr std::string_view kUnderWay = "while a copy to it is under way";
  for (const char* const use :
       {"ld.shared.u32 %r4, [%r3];", "st.shared.u32 [%r3], %r0;",
        "cp.async.ca.shared.global [%r3], [%rd2], 4;\ncp.async.commit_group;"}) {
    EXPECT_TRUE(tells(fault_between(one_too_few, use), kUnderWay)) << use;
    EXPECT_EQ(fault_between(empty_group + one_too_few, use), "no fault") << use;
  }
}

TEST_F(InterpreterTest, FindsAMissingBarrier) {
  EXPECT_TRUE(tells(fault_of(R"(
mov.u32 %r1, shared_bytes;
setp.gt.u32 %p0, %r0, 31;
@%p0 bra $READ;
st.shared.u32 [%r1], %r0;
ret;
$READ:
ld.shared.u32 %r2, [%r1];
ret;
)"),
                    "race at 1024 of shared memory"));
}

TEST_F(InterpreterTest, FindsACopyIntoWhatAnotherWarpMayStillRead) {
  EXPECT_TRUE(tells(fault_of(R"(
mov.u32 %r1, shared_bytes;
ld.shared.u32 %r2, [%r1];
setp.gt.u32 %p0, %r0, 31;
@%p0 bra $END;
cp.async.ca.shared.global [%r1], [%rd2], 4;
cp.async.commit_group;
cp.async.wait_group 0;
$END:
bar.sync 0;
ret;
)"),
                    "race at 1024 of shared memory"));
}

TEST_F(InterpreterTest, FindsWhatIsReadBeforeTheTurn) {
  constexpr std::string_view kStore = "griddepcontrol.wait;\nst.global.u32 [%rd2], %r0;\nret;";
  constexpr std::string_view kEarlyLoad = "ld.global.u32 %r1, [%rd2];\ngriddepcontrol.wait;\nret;";
  const GridShape early{.threads = 64, .may_start_early = true};
  EXPECT_EQ(fault_of(kEarlyLoad, early), "no fault");  // nothing was stored
  run(kStore, early);
  EXPECT_TRUE(tells(fault_of(kEarlyLoad, early), "is read before the turn"));
  run("ret;", {.threads = 64});  // starts when all before has ended
  EXPECT_EQ(fault_of(kEarlyLoad, early), "no fault");
  EXPECT_TRUE(tells(fault_of("st.global.u32 [%rd2], %r0;\ngriddepcontrol.wait;\nret;", early),
                    "is written before the turn"));
  EXPECT_TRUE(tells(fault_of("ret;", early), "did not take its turn"));
}

TEST_F(InterpreterTest, FindsRegistersOfProductsThatNoFenceKeepsApart) {
  const auto fault_behind = [&](const std::string& before) {
    return fault_of(before + R"(
wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, {%r1, %r2, %r3, %r4},
    %rd3, %p1, 1, 1, 0;
wgmma.commit_group.sync.aligned;
wgmma.wait_group.sync.aligned 0;
ret;
)",
                    {.threads = 128});
  };
  const std::string fence = "wgmma.fence.sync.aligned;";
  const std::string right = "mov.f32 %f2, %f4;\nmov.u32 %r2, %r5;" + fence + "mov.u32 %r6, %r5;";
  EXPECT_FALSE(tells(fault_behind(right), "stands between a fence")) << fault_behind(right);
  EXPECT_TRUE(tells(fault_behind(fence + "mov.f32 %f2, %f4;"), "stands between a fence"));
  EXPECT_TRUE(tells(fault_behind(fence + "mov.u32 %r2, %r5;"), "stands between a fence"));
  EXPECT_TRUE(tells(fault_behind(""), "no fence before wgmma"));
}

TEST_F(InterpreterTest, FindsOperandsThatProductsMayNotSee) {
  const auto fault_around = [&](const std::string& before, const std::string& while_under_way) {
    return fault_of(R"(
mov.u32 %r1, shared_bytes;
shl.b32 %r2, %r0, 3;
add.s32 %r3, %r1, %r2;
mov.u64 %rd3, 0x4000004000010040; // eight rows in the first KiB, swizzled by 128 bytes
setp.ne.u32 %p1, %r0, %r0;
)" + before + R"(
wgmma.fence.sync.aligned;
wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, {%r4, %r5, %r6, %r7},
    %rd3, %p1, 1, 1, 0;
wgmma.commit_group.sync.aligned;
)" + while_under_way + R"(
wgmma.wait_group.sync.aligned 0;
cp.async.wait_group 0;
ret;
)",
                    {.threads = 128, .shared_bytes = 1024});
  };
  const std::string store = "st.shared.v2.u32 [%r3], {%r0, %r0};\n";
  const std::string publish = "fence.proxy.async.shared::cta;\n";
  const std::string barrier = "bar.sync 0;\n";
  const std::string right = store + publish + barrier;
  EXPECT_EQ(fault_around(right, ""), "no fault");
  EXPECT_EQ(fault_around(right, barrier), "no fault");
  EXPECT_TRUE(tells(fault_around(store + publish, ""), "stored an operand"));
  EXPECT_TRUE(tells(fault_around(store + barrier, ""), "without a fence for tensor cores"));
  EXPECT_TRUE(tells(fault_around(store + barrier + publish, ""), "published an operand"));
  EXPECT_TRUE(tells(fault_around(store + barrier, publish), "published an operand"));
  // All warps of the product pass the barrier only when they have begun it.
  EXPECT_TRUE(tells(fault_around(right, barrier + right), "stored an operand"));
  EXPECT_TRUE(tells(fault_around(right,
                                 "cp.async.ca.shared.global [%r3], [%rd0], 4;\n"
                                 "cp.async.commit_group;"),
                    "wgmma"));
  EXPECT_TRUE(tells(fault_around(store + barrier, ""), "kernel, block (0, 0, 0), warp 0: wgmma"));
}

TEST_F(InterpreterTest, FindsAddressesThatAreWrong) {
  EXPECT_TRUE(tells(fault_of("ld.global.u32 %r1, [%rd2+4];\nret;"),
                    "behind the end of an allocation of 256"));
  EXPECT_TRUE(
      tells(fault_of("ld.global.v2.u32 {%r1, %r2}, [%rd0+4];\nret;"), "is not a multiple of 8"));
  EXPECT_TRUE(tells(fault_of("mov.u32 %r1, shared_bytes;\nst.shared.u32 [%r1+1024], %r0;\nret;"),
                    "a block of this grid has 1024"));
}

TEST_F(InterpreterTest, FindsLanesThatWaitForEachOther) {
  EXPECT_TRUE(tells(fault_of(R"(
setp.eq.u32 %p0, %r0, 0;
@%p0 bra $OTHER;
bar.sync 0;
ret;
$OTHER:
bar.sync 1;
ret;
)"),
                    "which wait elsewhere"));
  EXPECT_TRUE(tells(fault_of("setp.gt.u32 %p0, %r0, 31;\n@%p0 bra $OTHER;\nbar.sync 1, "
                             "64;\nret;\n$OTHER:\nbar.sync 2, 64;\nret;"),
                    "wait for others"));
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
