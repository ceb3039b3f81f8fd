#include "engine/scheduler/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dsl::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kCacheBlockTokens = 2;
using Ids = std::vector<std::int32_t>;

/// Takes, publishes and returns the blocks of a sequence.
Ids compute(PrefixCache& cache, const Ids& ids, std::int64_t num_prompt) {
  const CachedTokens tokens{ids, num_prompt};
  Ids blocks;
  PrefixNode end = PrefixNode::kRoot;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(ids.size()) / kCacheBlockTokens; ++i) {
    blocks.push_back(cache.allocate());
    end = cache.publish(end, blocks.back(), tokens, i);
  }
  return blocks;
}

Ids matched(PrefixCache& cache, const Ids& ids, std::int64_t num_prompt) {
  const Ids blocks = cache.match({ids, num_prompt}, static_cast<std::int64_t>(ids.size())).blocks;
  cache.release(blocks);
  return blocks;
}

TEST(PrefixCacheTest, MatchesTheLongestSharedBeginning) {
  PrefixCache cache(8, kCacheBlockTokens);
  const Ids blocks = compute(cache, {1, 2, 3, 4, 5, 6}, 6);
  EXPECT_EQ(matched(cache, {1, 2, 3, 4, 5, 6}, 6), blocks);
  EXPECT_THAT(matched(cache, {1, 2, 3, 4, 9, 9}, 6), ElementsAre(blocks[0], blocks[1]));
  EXPECT_THAT(matched(cache, {3, 4, 5, 6}, 4), IsEmpty()) << "the same tokens elsewhere";
  EXPECT_THAT(cache.match({Ids{1, 2, 3, 4, 5, 6}, 6}, 5).blocks, ElementsAre(blocks[0], blocks[1]));
}

TEST(PrefixCacheTest, FormOfEveryTokenMustBeTheSame) {
  PrefixCache cache(8, kCacheBlockTokens);
  const Ids blocks = compute(cache, {1, 2, 3, 4, 5, 6}, 3);
  EXPECT_THAT(matched(cache, {1, 2, 3, 4, 5, 6}, 6), ElementsAre(blocks[0]));
  EXPECT_THAT(matched(cache, {1, 2, 3, 4, 5, 6}, 4), ElementsAre(blocks[0]));
  EXPECT_THAT(matched(cache, {1, 2, 3, 4, 5, 6}, 2), ElementsAre(blocks[0]));
  EXPECT_EQ(matched(cache, {1, 2, 3, 4, 5, 6}, 3), blocks);
}

TEST(PrefixCacheTest, UnusedBlocksStayUntilFreeOnesRunOutAndEndsGoFirst) {
  PrefixCache cache(4, kCacheBlockTokens);
  const Ids first = compute(cache, {1, 2, 3, 4, 5, 6}, 6);
  cache.release(first);
  EXPECT_EQ(cache.num_cached(), 3);
  EXPECT_EQ(cache.num_available(), 4);
  cache.allocate();
  EXPECT_EQ(matched(cache, {1, 2, 3, 4, 5, 6}, 6), first);
  EXPECT_EQ(cache.allocate(), first[2]);
  EXPECT_THAT(matched(cache, {1, 2, 3, 4, 5, 6}, 6), ElementsAre(first[0], first[1]));
}

TEST(PrefixCacheTest, LeastRecentlyUsedBeginningGoesFirst) {
  PrefixCache cache(2, kCacheBlockTokens);
  cache.release(compute(cache, {1, 2}, 2));
  cache.release(compute(cache, {3, 4}, 2));
  EXPECT_EQ(matched(cache, {1, 2}, 2).size(), 1u);
  cache.allocate();
  EXPECT_EQ(matched(cache, {1, 2}, 2).size(), 1u);
  EXPECT_THAT(matched(cache, {3, 4}, 2), IsEmpty());
}

TEST(PrefixCacheTest, SharedBlockIsUsedUntilItsLastUserGoes) {
  PrefixCache cache(4, kCacheBlockTokens);
  const Ids blocks = compute(cache, {1, 2}, 2);
  const PrefixMatch second = cache.match({Ids{1, 2, 3}, 3}, 2);
  cache.release(blocks);
  EXPECT_EQ(cache.num_used(), 1);
  cache.release(second.blocks);
  EXPECT_EQ(cache.num_used(), 0);
  EXPECT_EQ(cache.num_cached(), 1);
}

TEST(PrefixCacheTest, BlockComputedTwiceIsKeptOnce) {
  PrefixCache cache(4, kCacheBlockTokens);
  const Ids first = compute(cache, {1, 2}, 2);
  const Ids second = compute(cache, {1, 2, 3, 4}, 4);
  EXPECT_THAT(matched(cache, {1, 2, 3, 4}, 4), ElementsAre(first[0], second[1]));
  cache.release(first);
  cache.release(second);
  EXPECT_EQ(cache.num_cached(), 2);
  EXPECT_EQ(cache.num_free(), 2);
}

TEST(PrefixCacheTest, NothingIsFoundBehindALostBlock) {
  PrefixCache cache(2, kCacheBlockTokens);
  const Ids first = compute(cache, {1, 2}, 2);
  const Ids second = compute(cache, {1, 2}, 2);  // a block of its own
  const Ids ids{1, 2, 3, 4};
  const CachedTokens tokens{ids, 4};
  const PrefixMatch begin = cache.match(tokens, 2);
  cache.release(begin.blocks);
  cache.release(second);
  const std::int32_t child = cache.allocate();
  cache.publish(begin.end, child, tokens, 1);
  cache.release(first);
  cache.allocate();  // takes the parent
  EXPECT_THAT(matched(cache, {1, 2, 3, 4}, 4), IsEmpty());
  cache.release({child});
  EXPECT_EQ(cache.num_cached(), 1);
  EXPECT_EQ(cache.allocate(), child);
}

}  // namespace
}  // namespace dsl::scheduler
