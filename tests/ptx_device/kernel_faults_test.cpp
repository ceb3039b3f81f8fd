// Which faults of a kernel the device for PTX finds.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/ptx_device/written_kernels.h"

namespace dsl::test::ptx {
namespace {

using KernelFaultsTest = WrittenKernels;

TEST_F(KernelFaultsTest, FindsWhatIsUsedWhileACopyToItIsUnderWay) {
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

TEST_F(KernelFaultsTest, FindsAMissingBarrier) {
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

TEST_F(KernelFaultsTest, FindsLanesThatDidNotMeet) {
  // Two bytes of each lane, %r3 its own, %r5 its neighbour's.
  const std::string places = R"(
mov.u32 %r1, shared_bytes;
shl.b32 %r2, %r0, 1;
add.s32 %r3, %r1, %r2;
xor.b32 %r4, %r2, 2;
add.s32 %r5, %r1, %r4;
)";
  const std::string store = "st.shared.u16 [%r3], %r0;\n";
  const std::string load = "ld.shared.u16 %r6, [%r5];\n";
  const std::string copy =
      "cp.async.ca.shared.global [%r2], [%rd2], 4;\ncp.async.commit_group;\n"
      "cp.async.wait_group 0;\n";
  const std::string exchange = "shfl.sync.bfly.b32 %r7|%p1, %r0, 1, 31, -1;\n";
  const std::string own_words = "shl.b32 %r2, %r0, 2;\nadd.s32 %r2, %r2, %r1;\n";
  const std::string matrix_row =
      "and.b32 %r4, %r0, 7;\nshl.b32 %r4, %r4, 4;\nadd.s32 %r4, %r4, %r1;\n";
  const std::string matrices = "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r6, %r7}, [%r4];\n";

  const auto fault_of_parts = [&](const std::string& first, const std::string& between,
                                  const std::string& last) {
    return fault_of(places + first + between + last + "ret;",
                    {.threads = 32, .shared_bytes = 1024});
  };
  const auto expect_race = [&](const std::string& first, const std::string& last,
                               std::string_view what) {
    for (const std::string& apart : {std::string(), exchange}) {
      EXPECT_TRUE(tells(fault_of_parts(first, apart, last), what)) << first << apart << last;
    }
    for (const char* const meeting : {"bar.warp.sync -1;\n", "bar.sync 0;\n"}) {
      EXPECT_EQ(fault_of_parts(first, meeting, last), "no fault") << first << meeting << last;
    }
  };
  expect_race(store, load, "lane 1 of warp 0 stored there before lanes 0x1 read");
  expect_race(load, store, "lanes 0x2 of warp 0 read there before lane 0 stores");
  expect_race(own_words + copy, load, "stored there before");
  expect_race(load, own_words + copy, "read there before");
  expect_race(matrix_row + store, matrices, "stored there before lanes 0xffffffff read");
  expect_race(matrix_row + matrices, store, "read there before");
  EXPECT_TRUE(tells(fault_of_parts("st.shared.u32 [%r1], %r0;\n", "", ""),
                    "lanes 0 and 1 of warp 0 store there"));
  EXPECT_EQ(fault_of_parts("st.shared.u32 [%r1], 5;\n", "", ""), "no fault");
}

TEST_F(KernelFaultsTest, FindsBlocksWhoseRegistersAreNotBounded) {
  EXPECT_EQ(fault_of("ret;", {.threads = 256}), "no fault");
  EXPECT_TRUE(tells(fault_of("ret;", {.threads = 288}), "__launch_bounds__"));
}

TEST_F(KernelFaultsTest, FindsACopyIntoWhatAnotherWarpMayStillRead) {
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

TEST_F(KernelFaultsTest, FindsWhatIsReadBeforeTheTurn) {
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

TEST_F(KernelFaultsTest, FindsThreadsThatShareTheDevicesMemory) {
  // %r1 is zero in one block alone, %rd3 where each block has two bytes, %rd4 the neighbour's word.
  const std::string places = R"(
mov.u32 %r1, %ctaid.x;
mov.u32 %r2, %ctaid.y;
mad.lo.s32 %r1, %r2, 2, %r1;
setp.eq.u32 %p0, %r1, 0;
setp.eq.u32 %p1, %r0, 0;
mul.wide.u32 %rd3, %r1, 2;
add.s64 %rd3, %rd0, %rd3;
xor.b64 %rd4, %rd1, 4;
add.s64 %rd4, %rd0, %rd4;
)";
  const auto fault_of_blocks = [&](const std::string& body) {
    return fault_of(places + body + "ret;", {.grid = {2, 2, 1}, .threads = 32});
  };
  const auto fault_of_block = [&](const std::string& body) {
    return fault_of(places + body + "ret;", {.threads = 32});
  };
  const std::string store = "st.global.u32 [%rd2], %r1;\n";
  const std::string load = "ld.global.u32 %r3, [%rd2];\n";
  const std::string load_other = "ld.global.u32 %r3, [%rd4];\n";
  const std::string one_stores = "@%p0 " + store;
  constexpr std::string_view kRace = "a thread of the grid has";

  EXPECT_EQ(fault_of_blocks(load), "no fault");
  EXPECT_EQ(fault_of_blocks(one_stores), "no fault");
  EXPECT_EQ(fault_of_blocks("@%p1 st.global.u16 [%rd3], %r1;\n@%p1 ld.global.u16 %r3, [%rd3];\n"),
            "no fault");
  EXPECT_TRUE(tells(fault_of_blocks(store), kRace));
  EXPECT_TRUE(tells(fault_of_blocks(load + one_stores), kRace));
  EXPECT_TRUE(tells(fault_of_blocks(one_stores + load), kRace));

  EXPECT_EQ(fault_of_block(load + store + load + store), "no fault");
  EXPECT_TRUE(tells(fault_of_block(load + load_other + store), "has read there"));
  EXPECT_TRUE(tells(fault_of_block(store + "bar.sync 0;\n" + load_other), "has stored there"));
}

TEST_F(KernelFaultsTest, FindsRegistersOfProductsThatNoFenceKeepsApart) {
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

TEST_F(KernelFaultsTest, FindsOperandsThatProductsMayNotSee) {
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

TEST_F(KernelFaultsTest, FindsAddressesThatAreWrong) {
  EXPECT_TRUE(tells(fault_of("ld.global.u32 %r1, [%rd2+4];\nret;"),
                    "behind the end of an allocation of 256"));
  EXPECT_TRUE(
      tells(fault_of("ld.global.v2.u32 {%r1, %r2}, [%rd0+4];\nret;"), "is not a multiple of 8"));
  EXPECT_TRUE(tells(fault_of("mov.u32 %r1, shared_bytes;\nst.shared.u32 [%r1+1024], %r0;\nret;"),
                    "a block of this grid has 1024"));
}

TEST_F(KernelFaultsTest, FindsLanesThatWaitForEachOther) {
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

}  // namespace
}  // namespace dsl::test::ptx
