#include "engine/runtime/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <thread>

#include "engine/runtime/cpu_set.h"
#include "engine/runtime/read_bandwidth.h"

namespace dsl {
namespace {

std::unique_ptr<ThreadPool> make_pool(ThreadPoolOptions options) {
  auto pool = ThreadPool::create(options);
  EXPECT_TRUE(pool.has_value());
  return std::move(*pool);
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

class ThreadPoolSizeTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolSizeTest, EveryThreadRunsEveryJobOnceAndItsWritesAreSeen) {
  const auto pool = make_pool({.num_threads = GetParam()});
  ASSERT_EQ(pool->size(), GetParam());
  std::vector<int> calls(static_cast<std::size_t>(pool->size()), 0);
  constexpr int kJobs = 1000;
  for (int job = 0; job < kJobs; ++job) {
    pool->run([&](int thread) { ++calls[static_cast<std::size_t>(thread)]; });
    // Not atomic on purpose: run() must order the workers' writes before its return.
    ASSERT_EQ(std::accumulate(calls.begin(), calls.end(), 0), (job + 1) * pool->size());
  }
}

TEST_P(ThreadPoolSizeTest, ParallelForCoversEveryElementOnce) {
  const auto pool = make_pool({.num_threads = GetParam()});
  for (const std::int64_t count : {0, 1, 2, 15, 16, 17, 100, 1000}) {
    for (const std::int64_t grain : {1, 3, 16}) {
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
      pool->parallel_for(count, grain, [&](std::int64_t first, std::int64_t last) {
        EXPECT_TRUE(first % grain == 0);
        for (std::int64_t i = first; i < last; ++i) ++seen[static_cast<std::size_t>(i)];
      });
      for (const auto& times : seen) ASSERT_EQ(times.load(), 1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolSizeTest, testing::Values(1, 2, 3, 4, 8));

TEST(ThreadPoolTest, JobsAfterASleepStillRun) {
  const auto pool = make_pool({.num_threads = 3});
  std::atomic<int> calls{0};
  for (int round = 0; round < 5; ++round) {
    pool->run([&](int) { ++calls; });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // far longer than the spin
  }
  EXPECT_EQ(calls.load(), 15);
}

TEST(ThreadPoolTest, AnIdlePoolUsesNoCpu) {
  const auto pool = make_pool({.num_threads = 4});
  pool->run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_seconds() - before, 0.05);
}

TEST(ThreadPoolTest, PinnedWorkersStayInsideTheCpuSetOfTheProcess) {
  const CpuSet cpus = usable_cpus();
  ASSERT_FALSE(cpus.cpus.empty());
  const auto pool = make_pool({});
  EXPECT_EQ(pool->size(), cpus.num_cores);
  std::vector<int> where(static_cast<std::size_t>(pool->size()), -1);
  pool->run([&](int thread) { where[static_cast<std::size_t>(thread)] = sched_getcpu(); });
  for (std::size_t thread = 1; thread < where.size(); ++thread) {
    EXPECT_EQ(where[thread], cpus.cpus[thread]);
  }
}

TEST(ThreadPoolTest, PoolsThatDoNotFitSideBySideAreNotPinned) {
  const auto cpus = static_cast<int>(usable_cpus().cpus.size());
  EXPECT_FALSE(make_pool({.num_threads = cpus, .local_rank = 1, .local_ranks = 2})->pinned());
  EXPECT_TRUE(make_pool({.num_threads = 1, .local_rank = cpus - 1, .local_ranks = cpus})->pinned());
}

TEST(ThreadPoolTest, MoreRanksThanCpusMakeProgress) {
  // Four pools of two threads on whatever there is: spinning would take turns of a whole time slice
  // each.
  constexpr int kPools = 4;
  constexpr int kJobs = 500;
  std::vector<std::thread> ranks;
  std::atomic<int> done{0};
  const auto start = std::chrono::steady_clock::now();
  for (int rank = 0; rank < kPools; ++rank) {
    ranks.emplace_back([rank, &done] {
      const auto pool = make_pool({.num_threads = 2, .local_rank = rank, .local_ranks = kPools});
      for (int job = 0; job < kJobs; ++job) pool->run([&](int) { ++done; });
    });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(done.load(), kPools * kJobs * 2);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(ThreadPoolTest, NonsenseOptionsAreRefused) {
  EXPECT_FALSE(ThreadPool::create({.num_threads = -1}).has_value());
  EXPECT_FALSE(ThreadPool::create({.local_rank = 2, .local_ranks = 2}).has_value());
}

TEST(ReadBandwidthTest, IsPlausible) {
  const auto pool = make_pool({});
  const Result<double> bandwidth = measure_read_bandwidth(*pool);
  ASSERT_TRUE(bandwidth.has_value());
  EXPECT_GT(*bandwidth, 1e8);
  EXPECT_LT(*bandwidth, 1e13);
  RecordProperty("gigabytes_per_second", std::to_string(*bandwidth * 1e-9));
}

}  // namespace
}  // namespace dsl
