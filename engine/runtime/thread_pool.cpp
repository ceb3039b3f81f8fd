#include "engine/runtime/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <system_error>

#include "engine/runtime/cpu_set.h"

namespace dsl {
namespace {

/// Longer than the gaps between the regions of one layer, far shorter than the gap between two
/// requests.
constexpr std::chrono::microseconds kSpinTime{50};
/// Pauses between two looks at the clock.
constexpr int kPausesPerLook = 64;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

/// Waits until value differs from `old`: spins for up to `spin_time`, then sleeps in the kernel.
void wait_for_change(std::atomic<std::uint32_t>& value, std::uint32_t old,
                     std::chrono::microseconds spin_time) {
  if (spin_time.count() > 0) {
    const auto end = std::chrono::steady_clock::now() + spin_time;
    do {
      for (int i = 0; i < kPausesPerLook; ++i) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause_briefly();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

bool pin_to(pthread_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu >= CPU_SETSIZE) return false;
  CPU_SET(cpu, &set);
  return pthread_setaffinity_np(thread, sizeof(set), &set) == 0;
}

}  // namespace

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(ThreadPoolOptions options) {
  if (options.num_threads < 0 || options.local_ranks < 1 || options.local_rank < 0 ||
      options.local_rank >= options.local_ranks) {
    return fail(ErrorCode::kInvalidArgument, "ask for at least one thread",
                "thread pool: expected num_threads >= 0 and 0 <= local_rank < local_ranks, found "
                "{} threads, rank {} of {}",
                options.num_threads, options.local_rank, options.local_ranks);
  }
  const CpuSet cpu_set = usable_cpus();
  const int num_threads = options.num_threads > 0
                              ? options.num_threads
                              : std::max(1, cpu_set.num_cores / options.local_ranks);
  const auto num_cpus = static_cast<std::int64_t>(cpu_set.cpus.size());
  const bool fits = std::int64_t{num_threads} * options.local_ranks <= num_cpus;

  std::unique_ptr<ThreadPool> pool(
      new ThreadPool(num_threads, fits ? kSpinTime : std::chrono::microseconds(0)));
  try {
    for (int thread = 1; thread < num_threads; ++thread) {
      pool->workers_.emplace_back([raw = pool.get(), thread] { raw->work(thread); });
    }
  } catch (const std::system_error& error) {
    return fail(ErrorCode::kOutOfMemory, "ask for fewer threads or raise the process limit",
                "thread pool: starting thread {} of {}: {}", pool->workers_.size() + 1, num_threads,
                error.what());
  }
  if (fits) {
    const auto first =
        static_cast<std::size_t>(options.local_rank) * static_cast<std::size_t>(num_threads);
    pool->pinned_ = true;
    if (options.pin_caller) pool->pinned_ = pin_to(pthread_self(), cpu_set.cpus[first]);
    for (std::size_t i = 0; i < pool->workers_.size(); ++i) {
      const int cpu = cpu_set.cpus[first + i + 1];
      pool->pinned_ = pin_to(pool->workers_[i].native_handle(), cpu) && pool->pinned_;
    }
  }
  return pool;
}

ThreadPool::ThreadPool(int num_threads, std::chrono::microseconds spin_time)
    : num_threads_(num_threads), spin_time_(spin_time) {}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::dispatch(Entry entry, void* context) {
  entry_ = entry;
  context_ = context;
  unfinished_.store(static_cast<std::uint32_t>(num_threads_ - 1), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  entry(context, 0);
  for (;;) {
    const std::uint32_t left = unfinished_.load(std::memory_order_acquire);
    if (left == 0) return;
    wait_for_change(unfinished_, left, spin_time_);
  }
}

void ThreadPool::work(int thread) {
  for (std::uint32_t seen = 0;; ++seen) {
    wait_for_change(epoch_, seen, spin_time_);
    if (stopping_.load(std::memory_order_relaxed)) return;
    entry_(context_, thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

void ThreadPool::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

}  // namespace dsl
