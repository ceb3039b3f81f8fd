// Pinned fork-join threads for kernels: thousands of short parallel regions per second without a
// scheduler between.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "transport/base/error.h"

namespace dsl {

struct ThreadPoolOptions {
  /// 0 means one thread per core of the process's CPU set, divided among local_ranks.
  int num_threads = 0;
  /// Which of how many pools of the same size share this CPU set (ranks on one node). Pools that
  /// fit side by side are pinned side by side; pools that do not fit are neither pinned nor spin,
  /// so that they do not fight for CPUs.
  int local_rank = 0;
  int local_ranks = 1;
  /// Pins the calling thread too. Threads that it starts later inherit its CPU, so start those
  /// first.
  bool pin_caller = false;
};

/// Owns its threads. The caller of run() is thread 0; a pool of one thread runs everything inline.
/// Only one thread may call run() at a time, and jobs must neither throw nor call run() again.
/// Thread-compatible.
class ThreadPool {
 public:
  static Result<std::unique_ptr<ThreadPool>> create(ThreadPoolOptions options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return num_threads_; }
  /// False when the pool shares its CPUs with others, and where the system refused.
  bool pinned() const { return pinned_; }

  /// Calls job(thread_index) once on every thread and returns when all calls have returned.
  template <typename Job>
  void run(Job&& job) {
    if (num_threads_ == 1) {
      job(0);
      return;
    }
    using Callable = std::remove_reference_t<Job>;
    dispatch([](void* context, int thread) { (*static_cast<Callable*>(context))(thread); },
             const_cast<void*>(static_cast<const void*>(std::addressof(job))));
  }

  /// Part [first, last) of [0, count) that belongs to one of `parts`: contiguous, in multiples of
  /// `grain` except at the end, as even as that allows. Static, so that the same thread touches the
  /// same memory in every step.
  struct Range {
    std::int64_t first = 0;
    std::int64_t last = 0;
  };
  static Range part(std::int64_t count, std::int64_t grain, int index, int parts) {
    const std::int64_t grains = (count + grain - 1) / grain;
    return {std::min(count, grains * index / parts * grain),
            std::min(count, grains * (index + 1) / parts * grain)};
  }

  /// Calls job(first, last) on every thread that has a part of [0, count).
  template <typename Job>
  void parallel_for(std::int64_t count, std::int64_t grain, Job&& job) {
    if (count <= grain || num_threads_ == 1) {
      if (count > 0) job(std::int64_t{0}, count);
      return;
    }
    run([&](int thread) {
      const Range range = part(count, grain, thread, num_threads_);
      if (range.first < range.last) job(range.first, range.last);
    });
  }

 private:
  using Entry = void (*)(void* context, int thread);

  ThreadPool(int num_threads, std::chrono::microseconds spin_time);
  void dispatch(Entry entry, void* context);
  void work(int thread);
  void stop();

  const int num_threads_;
  const std::chrono::microseconds spin_time_;  // before a waiting thread goes to sleep
  bool pinned_ = false;
  std::vector<std::thread> workers_;

  Entry entry_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> epoch_{0};  // grows with every job
  alignas(64) std::atomic<std::uint32_t> unfinished_{
      0};  // workers that have not ended the current job
  std::atomic<bool> stopping_{false};
};

}  // namespace dsl
