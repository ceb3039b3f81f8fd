#include "engine/scheduler/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dsl::scheduler {
namespace {

using ::testing::ElementsAre;

Sequence sequence(std::uint64_t id, const std::string& tenant, int priority = 0) {
  Sequence result;
  result.start.id = SequenceId{id};
  result.terms.tenant = tenant;
  result.terms.priority = priority;
  return result;
}

/// Serves every waiting sequence `tokens` tokens; the order of their ids.
std::vector<std::uint64_t> serve_all(FairQueue& queue, std::int64_t tokens) {
  std::vector<std::uint64_t> order;
  while (!queue.empty()) {
    EXPECT_NE(queue.front(), nullptr);
    const Sequence next = queue.pop();
    queue.charge(next.terms.tenant, tokens);
    order.push_back(static_cast<std::uint64_t>(next.start.id));
  }
  return order;
}

TEST(FairQueueTest, OneTenantIsServedInOrderOfArrival) {
  FairQueue queue;
  for (const std::uint64_t id : {3, 1, 2}) queue.push(sequence(id, "a"));
  EXPECT_THAT(serve_all(queue, 10), ElementsAre(1, 2, 3));
  EXPECT_EQ(queue.front(), nullptr);
}

TEST(FairQueueTest, TenantsTakeTurnsWhateverTheyQueue) {
  FairQueue queue;
  for (std::uint64_t id = 1; id <= 4; ++id) queue.push(sequence(id, "many"));
  queue.push(sequence(5, "few"));
  queue.push(sequence(6, "few"));
  EXPECT_THAT(serve_all(queue, 10), ElementsAre(1, 5, 2, 6, 3, 4));
}

TEST(FairQueueTest, TurnsAreCountedInTokens) {
  FairQueue queue;
  for (std::uint64_t id = 1; id <= 2; ++id) queue.push(sequence(id, "long"));
  for (std::uint64_t id = 3; id <= 6; ++id) queue.push(sequence(id, "short"));
  std::vector<std::uint64_t> order;
  while (!queue.empty()) {
    const Sequence next = queue.pop();
    queue.charge(next.terms.tenant, next.terms.tenant == "long" ? 30 : 10);
    order.push_back(static_cast<std::uint64_t>(next.start.id));
  }
  EXPECT_THAT(order, ElementsAre(1, 3, 4, 5, 2, 6));
}

TEST(FairQueueTest, PriorityComesBeforeFairness) {
  FairQueue queue;
  queue.push(sequence(1, "a"));
  queue.push(sequence(2, "a", 3));
  queue.push(sequence(3, "b", -1));
  queue.push(sequence(4, "b", 3));
  EXPECT_THAT(serve_all(queue, 10), ElementsAre(2, 4, 1, 3));
}

TEST(FairQueueTest, PauseSavesUpNoService) {
  FairQueue queue;
  for (std::uint64_t id = 1; id <= 6; ++id) queue.push(sequence(id, "busy"));
  for (int i = 0; i < 3; ++i) queue.charge(queue.pop().terms.tenant, 10);
  for (std::uint64_t id = 7; id <= 9; ++id) queue.push(sequence(id, "back"));
  // "back" starts at the 20 tokens that "busy" had when its turn came last.
  EXPECT_THAT(serve_all(queue, 10), ElementsAre(7, 4, 8, 5, 9, 6));
}

TEST(FairQueueTest, TenantThatLeavesAndComesBackKeepsItsDebt) {
  FairQueue queue;
  queue.push(sequence(1, "a"));
  queue.push(sequence(2, "b"));
  queue.push(sequence(3, "b"));
  queue.charge(queue.pop().terms.tenant, 100);
  queue.leave("a");
  queue.push(sequence(4, "a"));
  EXPECT_THAT(serve_all(queue, 10), ElementsAre(2, 3, 4));
}

TEST(FairQueueTest, IdleQueueForgets) {
  FairQueue queue;
  queue.push(sequence(1, "a"));
  queue.charge(queue.pop().terms.tenant, 100);
  queue.leave("a");
  queue.push(sequence(2, "a"));
  queue.push(sequence(3, "b"));
  EXPECT_THAT(serve_all(queue, 10), ElementsAre(2, 3));
}

TEST(FairQueueTest, RestoredSequenceGoesBeforeYoungerOnes) {
  FairQueue queue;
  queue.push(sequence(1, "a"));
  Sequence preempted = queue.pop();
  queue.push(sequence(2, "a"));
  queue.restore(std::move(preempted));
  EXPECT_EQ(queue.size(), 2);
  EXPECT_TRUE(queue.erase(SequenceId{2}));
  EXPECT_FALSE(queue.erase(SequenceId{2}));
  EXPECT_THAT(serve_all(queue, 10), ElementsAre(1));
}

}  // namespace
}  // namespace dsl::scheduler
