// Warps that fill shared memory, warps that multiply what lies there, and the barriers between.
#include <gtest/gtest.h>

#include <bit>
#include <string>
#include <string_view>
#include <vector>

#include "tests/ptx_device/written_kernels.h"

namespace dsl::test::ptx {
namespace {

/// A fifth warp fills the first KiB three times, a warpgroup multiplies it. The first block stores
/// the sums.
struct Pipeline {
  std::string init =
      "mbarrier.init.shared::cta.b64 [%r10], 1;\nmbarrier.init.shared::cta.b64 [%r11], 128;\n";
  std::string begin = "bar.sync 0;\n";
  std::string wait_until_empty = R"(
not.b32 %r4, %r3;
and.b32 %r4, %r4, 1;
$EMPTY:
mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r11], %r4;
@!%p2 bra $EMPTY;
)";
  std::string publish = "fence.proxy.async.shared::cta;\n";
  std::string meet = "bar.warp.sync -1;\n";
  std::string behind_filling = {};
  std::string wait_until_full = R"(
and.b32 %r4, %r3, 1;
$FULL:
mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r10], %r4;
@!%p2 bra $FULL;
)";
  std::string arrive_empty = "mbarrier.arrive.shared::cta.b64 %rd4, [%r11];\n";

  std::string text() const {
    return R"(
mov.u32 %r1, shared_bytes;
add.s32 %r10, %r1, 1024;
add.s32 %r11, %r1, 1032;
setp.ne.u32 %p0, %r0, 0;
@%p0 bra $BEGIN;
)" + init + "$BEGIN:\n" +
           begin + R"(
mov.u32 %r3, 0;
setp.lt.u32 %p1, %r0, 128;
@%p1 bra $MULTIPLY;
and.b32 %r2, %r0, 31;
shl.b32 %r5, %r2, 5;
add.s32 %r5, %r5, %r1;
$FILL:
)" + wait_until_empty +
           R"(
mad.lo.s32 %r6, %r3, 0x00800080, 0x3f803f80; // twice 1, 2, 4
st.shared.v4.u32 [%r5], {%r6, %r6, %r6, %r6};
st.shared.v4.u32 [%r5+16], {%r6, %r6, %r6, %r6};
)" + publish +
           meet + R"(
setp.ne.u32 %p3, %r2, 0;
@%p3 bra $FILLED;
{
.reg .b64 state;
mbarrier.arrive.shared::cta.b64 state, [%r10];
}
$FILLED:
)" + behind_filling +
           R"(
add.s32 %r3, %r3, 1;
setp.lt.u32 %p4, %r3, 3;
@%p4 bra $FILL;
ret;
$MULTIPLY:
mov.u64 %rd3, 0x4000004000010040; // eight rows in the first KiB, swizzled by 128 bytes
setp.eq.u32 %p5, %r0, %r0;
mov.u32 %r12, 0x3f803f80; // twice 1
mov.f32 %f0, 0f00000000;
mov.f32 %f1, %f0;
mov.f32 %f2, %f0;
mov.f32 %f3, %f0;
$NEXT:
)" + wait_until_full +
           R"(
wgmma.fence.sync.aligned;
wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, {%r12, %r12, %r12, %r12},
    %rd3, %p5, 1, 1, 0;
wgmma.commit_group.sync.aligned;
wgmma.wait_group.sync.aligned 0;
)" + arrive_empty +
           R"(
add.s32 %r3, %r3, 1;
setp.lt.u32 %p4, %r3, 3;
@%p4 bra $NEXT;
mov.u32 %r13, %ctaid.x;
mad.lo.s32 %r13, %r13, 64, %r0;
setp.gt.u32 %p6, %r13, 63;
@%p6 bra $END;
st.global.f32 [%rd2], %f0;
$END:
ret;
)";
  }
};

class MbarrierTest : public WrittenKernels {
 protected:
  static constexpr GridShape kShape{.grid = {2, 1, 1}, .threads = 160, .shared_bytes = 2048};

  std::string fault_in(const Pipeline& pipeline) { return fault_of(pipeline.text(), kShape); }
};

TEST_F(MbarrierTest, WarpsFillAndEmptyInTurn) {
  const auto words = run(Pipeline().text(), kShape);
  for (const std::uint32_t word : words) EXPECT_EQ(std::bit_cast<float>(word), 16 * (1 + 2 + 4));
}

TEST_F(MbarrierTest, FindsWaitsThatAreMissingOrForAnotherPhase) {
  constexpr std::string_view kUnordered = "no barrier lies between";
  EXPECT_TRUE(tells(fault_in({.wait_until_full = ""}), kUnordered));
  // Phases end without the warpgroup, which then waits for one that never comes, or for a parity
  // that has come and gone.
  EXPECT_NE(fault_in({.wait_until_empty = ""}), "no fault");
  const auto with_other_parity = [](std::string wait) {
    return wait.insert(wait.find("$"), "xor.b32 %r4, %r4, 1;\n");
  };
  const Pipeline right;
  EXPECT_TRUE(
      tells(fault_in({.wait_until_full = with_other_parity(right.wait_until_full)}), kUnordered));
  EXPECT_TRUE(tells(fault_in({.wait_until_empty = with_other_parity(right.wait_until_empty)}),
                    "of kernel wait for others; warp 0 for phase 0"));
  const std::string lanes_differ = "and.b32 %r4, %r0, 1;\n";
  EXPECT_TRUE(tells(
      fault_in({.wait_until_full =
                    lanes_differ + right.wait_until_full.substr(right.wait_until_full.find("$"))}),
      "lanes of a warp wait for different phases"));
}

TEST_F(MbarrierTest, FindsArrivalsThatAreMissing) {
  EXPECT_TRUE(tells(fault_in({.init = "mbarrier.init.shared::cta.b64 [%r10], 2;\n"
                                      "mbarrier.init.shared::cta.b64 [%r11], 128;\n"}),
                    "for phase 0 of the mbarrier at 2048, which lacks 1 arrivals of 2"));
  EXPECT_TRUE(tells(fault_in({.arrive_empty = ""}),
                    "for phase 0 of the mbarrier at 2056, which lacks 128 arrivals of 128"));
}

TEST_F(MbarrierTest, FindsPhasesThatEndBeforeAWarpSeesTheOneBefore) {
  EXPECT_TRUE(tells(fault_of(R"(
mov.u32 %r1, shared_bytes;
setp.ne.u32 %p0, %r0, 0;
@%p0 bra $BEGIN;
mbarrier.init.shared::cta.b64 [%r1], 1;
$BEGIN:
bar.sync 0;
setp.lt.u32 %p1, %r0, 32;
@%p1 bra $ARRIVE;
mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r1], 0;
ret;
$ARRIVE:
bar.sync 1, 32;
setp.ne.u32 %p0, %r0, 0;
@%p0 bra $END;
mbarrier.arrive.shared::cta.b64 %rd3, [%r1];
mbarrier.arrive.shared::cta.b64 %rd3, [%r1];
$END:
ret;
)"),
                    "waits for phase 0 of the mbarrier at 1024, and the next one has ended too"));
}

TEST_F(MbarrierTest, FindsOperandsThatWereNotPublishedBefore) {
  EXPECT_TRUE(tells(fault_in({.publish = ""}), "without a fence for tensor cores"));
  const Pipeline right;
  EXPECT_TRUE(tells(fault_in({.publish = "", .behind_filling = right.publish}), "an operand at"));
}

TEST_F(MbarrierTest, FindsLanesForWhichAnotherOneArrives) {
  EXPECT_TRUE(tells(fault_in({.meet = ""}),
                    "lanes 0x1 of warp 4 arrive, and lanes 0xfffffffe used shared memory before"));
}

TEST_F(MbarrierTest, FindsProductsThatAreUnderWayWhenTheirWarpsArrive) {
  Pipeline early;
  early.wait_until_full += early.arrive_empty;
  early.arrive_empty = "";
  EXPECT_TRUE(tells(fault_in(early), "no barrier lies between"));
}

TEST_F(MbarrierTest, FindsBarriersThatAreNone) {
  const Pipeline right;
  EXPECT_TRUE(tells(fault_in({.init = ""}), "no mbarrier was initialised at"));
  EXPECT_TRUE(tells(fault_in({.begin = ""}), "2048 of shared memory"));
  EXPECT_TRUE(tells(fault_in({.init = right.init + right.init}), "is initialised twice"));
  EXPECT_TRUE(tells(fault_in({.init = "mbarrier.init.shared::cta.b64 [%r10+4], 1;\n"}),
                    "2052, which is not a multiple of 8"));
  EXPECT_TRUE(tells(fault_in({.init = "mbarrier.init.shared::cta.b64 [%r10], 0;\n"}),
                    "an mbarrier for 0 arrivals"));
  for (const char* const use : {"ld.shared.u32 %r4, [%r10+4];\n", "st.shared.u32 [%r11], %r0;\n",
                                "cp.async.ca.shared.global [%r10], [%rd2], 4;\n"}) {
    EXPECT_TRUE(tells(fault_in({.begin = right.begin + use}), "where an mbarrier lies")) << use;
  }
}

TEST_F(MbarrierTest, LanesMeetWhereTheyArriveBeforeTheyWait) {
  const auto fault_between = [&](const std::string& before, const std::string& between) {
    return fault_of(R"(
mov.u32 %r1, shared_bytes;
setp.ne.u32 %p0, %r0, 0;
@%p0 bra $BEGIN;
mbarrier.init.shared::cta.b64 [%r1], 64;
$BEGIN:
shl.b32 %r2, %r0, 2;
add.s32 %r2, %r2, %r1;
xor.b32 %r3, %r2, 4;
bar.sync 0;
)" + before + "mbarrier.arrive.shared::cta.b64 %rd3, [%r1];\n" +
                    between + R"(
mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0;
ld.shared.u32 %r4, [%r3+64];
ret;
)");
  };
  const std::string store = "st.shared.u32 [%r2+64], %r0;\n";
  EXPECT_EQ(fault_between(store, ""), "no fault");
  EXPECT_TRUE(tells(fault_between("", store), "its lanes do not meet in between"));
}

TEST_F(MbarrierTest, FindsRegistersThatNobodyGaveBack) {
  const auto fault_with = [&](const std::string& first, const std::string& others) {
    return fault_of("setp.gt.u32 %p0, %r0, 127;\n@%p0 bra $OTHERS;\n" + first + "ret;\n$OTHERS:\n" +
                        others + "ret;\n",
                    {.threads = 384});
  };
  const auto taken = [](int count) {
    return "setmaxnreg.inc.sync.aligned.u32 " + std::to_string(count) + ";\n";
  };
  const auto given = [](int count) {
    return "setmaxnreg.dec.sync.aligned.u32 " + std::to_string(count) + ";\n";
  };
  limits_ = ".maxntid 384, 1, 1\n.minnctapersm 1";  // 168 registers
  EXPECT_EQ(fault_with(given(40), taken(232)), "no fault");
  EXPECT_EQ(fault_with(given(24), ""), "no fault");
  EXPECT_TRUE(tells(fault_with(given(48), taken(232)), "take 65536 registers"));
  EXPECT_TRUE(tells(fault_with("", taken(176)), "one waits for ever"));
  EXPECT_TRUE(tells(fault_with(given(36), ""), "a multiple of 8 from 24 to 256"));
  EXPECT_TRUE(tells(fault_with(given(16), ""), "a multiple of 8 from 24 to 256"));
  EXPECT_TRUE(tells(fault_with(given(24), taken(264)), "a multiple of 8 from 24 to 256"));
  EXPECT_TRUE(tells(fault_with(given(176), ""), "176 registers, of a warp that has 168"));
  EXPECT_TRUE(tells(fault_with(taken(160), ""), "160 registers, of a warp that has 168"));
  EXPECT_TRUE(tells(
      fault_with("setp.gt.u32 %p1, %r0, 31;\n@%p1 bra $END;\n" + given(40) + "$END:\n", taken(232)),
      "warps 0 and 1 of a warpgroup"));
  limits_ = ".maxntid 384, 1, 1\n.minnctapersm 2";  // 80 registers
  EXPECT_TRUE(tells(fault_with(given(40), taken(232)), "it was launched with 30720"));
  limits_ = "";
  EXPECT_TRUE(tells(fault_of(given(40) + "ret;", {.threads = 128}), "no __launch_bounds__"));
}

}  // namespace
}  // namespace dsl::test::ptx
