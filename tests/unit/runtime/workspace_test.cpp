#include "engine/runtime/workspace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace dsl {
namespace {

TEST(WorkspaceTest, MemoryIsAlignedAndDisjoint) {
  Workspace workspace;
  const Workspace::Scope scope(workspace);
  std::vector<const std::byte*> pieces;
  for (int i = 1; i < 200; ++i) {
    auto* data = workspace.allocate<std::byte>(i * 37);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % AlignedBuffer::kAlignment, 0u);
    std::memset(data, i, static_cast<std::size_t>(i) * 37);
    pieces.push_back(data);
  }
  for (int i = 1; i < 200; ++i) {
    const std::byte* data = pieces[static_cast<std::size_t>(i - 1)];
    EXPECT_TRUE(std::all_of(data, data + i * 37, [i](std::byte b) { return b == std::byte(i); }));
  }
}

TEST(WorkspaceTest, ScopesGiveBackWhatTheyTook) {
  Workspace workspace;
  const Workspace::Scope outer(workspace);
  auto* kept = workspace.allocate<float>(100);
  kept[99] = 7;
  float* first = nullptr;
  {
    const Workspace::Scope inner(workspace);
    first = workspace.allocate<float>(1000);
  }
  const Workspace::Scope inner(workspace);
  EXPECT_EQ(workspace.allocate<float>(1000), first);
  EXPECT_EQ(kept[99], 7);
}

TEST(WorkspaceTest, ASteadyStateAllocatesOneBlockOfTheHighWaterMark) {
  Workspace workspace;
  const auto pass = [&] {
    const Workspace::Scope scope(workspace);
    for (int i = 0; i < 10; ++i) std::memset(workspace.allocate<std::byte>(50'000), 1, 50'000);
  };
  pass();
  const std::size_t reserved = workspace.reserved_bytes();
  EXPECT_EQ(reserved, workspace.high_water_bytes());
  EXPECT_GE(reserved, 500'000u);
  pass();
  EXPECT_EQ(workspace.reserved_bytes(), reserved);
}

}  // namespace
}  // namespace dsl
