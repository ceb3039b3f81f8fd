#include <algorithm>
#include <array>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda_runtime.h"
#include "emulated_launch.h"
#include "emulated_memory.h"
#include "emulated_threads.h"
#include "emulated_wgmma.h"
#include "transport/base/error.h"
#include "turn_order.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace dsl::cuda {

/// What `extern __shared__ unsigned char shared_bytes[]` means in kernels.
alignas(1024) extern unsigned char shared_bytes[];
alignas(1024) unsigned char shared_bytes[test::kMaxSharedBytes];

}  // namespace dsl::cuda

namespace dsl::test {
namespace {

namespace context = boost::context;

/// Where dynamic shared memory begins: the system keeps the first KiB.
constexpr std::uint32_t kSharedWindow = 1024;
constexpr std::size_t kStackBytes = 64 * 1024;

/// Why a fiber gave way.
enum class Pause { kWarp, kBarrier, kPhase, kEnded };

constexpr int kBlockBarrier = 0;
constexpr std::size_t kBarriers = 16;

struct Thread {
  context::fiber fiber;
  context::fiber scheduler;
  Pause pause = Pause::kBarrier;
  int barrier = kBlockBarrier;
  int barrier_threads = 0;  // that it waits for there; of the block's, all
  AwaitedPhase phase;
  dim3 index;
  int lane = 0;
  LaneWords* words = nullptr;  // of its warp: two rounds of 32
  int round = 0;
  std::deque<std::vector<PendingCopy>> copies{1};
  std::vector<PendingProduct> products;
  bool took_turn = false;
};

Thread* running = nullptr;
/// Of a kernel that takes a turn, until its first thread has.
DeviceMemory::Opening* closed_until_turn = nullptr;

void give_way(Pause pause) {
  running->pause = pause;
  Thread* self = running;
  self->scheduler = std::move(self->scheduler).resume();
}

void resume(Thread& thread) {
  running = &thread;
  threadIdx = thread.index;
  thread.fiber = std::move(thread.fiber).resume();
}

/// Runs one block: every warp until all its lanes wait at a barrier or for a phase, then another
/// warp.
class Block {
 public:
  Block(const dim3& shape, const std::function<void()>& body,
        context::pooled_fixedsize_stack& stacks, TurnOrder& order)
      : order_(order),
        threads_(shape.x),
        words_(2 * (shape.x + kLanes)),
        warps_((shape.x + kLanes - 1) / kLanes, Warp::kRuns) {
    for (unsigned i = 0; i < shape.x; ++i) {
      Thread& thread = threads_[i];
      thread.index = dim3(i, 0, 0);
      thread.lane = static_cast<int>(i) % kLanes;
      thread.words = words_.data() + i / kLanes * 2 * kLanes;
      thread.fiber = context::fiber(std::allocator_arg, stacks, [&thread, &body](auto&& scheduler) {
        thread.scheduler = std::move(scheduler);
        body();
        thread.pause = Pause::kEnded;
        return std::move(thread.scheduler);
      });
    }
  }

  void run() {
    while (true) {
      bool has_run = false;
      for (const unsigned warp : order_.shuffled(static_cast<unsigned>(warps_.size()))) {
        if (!may_run(warp)) continue;
        has_run = true;
        run_warp(warp);
      }
      if (has_run) continue;
      if (std::ranges::count(warps_, Warp::kEnded) == std::ssize(warps_)) return;
      // Those that have ended do not count.
      DSL_CHECK(std::ranges::find(warps_, Warp::kAwaitsPhase) == warps_.end(),
                "all threads of block {} of a kernel wait for others, some for a phase that does "
                "not end",
                blockIdx.x);
      release(kBlockBarrier);
    }
  }

 private:
  enum class Warp { kRuns, kWaits, kAwaitsPhase, kEnded };

  std::span<Thread> lanes_of(std::size_t warp) {
    return std::span(threads_).subspan(
        warp * kLanes, std::min<std::size_t>(kLanes, threads_.size() - warp * kLanes));
  }
  /// Null where all have ended.
  const Thread* waiting_lane(std::size_t warp) {
    const auto lanes = lanes_of(warp);
    const auto found =
        std::ranges::find_if(lanes, [](const Thread& lane) { return lane.pause != Pause::kEnded; });
    return found == lanes.end() ? nullptr : &*found;
  }
  bool may_run(std::size_t warp) {
    return warps_[warp] == Warp::kRuns ||
           (warps_[warp] == Warp::kAwaitsPhase && has_ended(waiting_lane(warp)->phase));
  }

  void release(int barrier) {
    arrived_[static_cast<std::size_t>(barrier)] = 0;
    bool is_released = false;
    for (std::size_t warp = 0; warp < warps_.size(); ++warp) {
      if (warps_[warp] != Warp::kWaits || waiting_lane(warp)->barrier != barrier) continue;
      warps_[warp] = Warp::kRuns;
      is_released = true;
    }
    DSL_CHECK(is_released, "all threads of block {} of a kernel wait for others", blockIdx.x);
  }

  void arrive(std::size_t warp) {
    const Thread* const waiting = waiting_lane(warp);
    const bool is_phase = waiting != nullptr && waiting->pause == Pause::kPhase;
    warps_[warp] = waiting == nullptr ? Warp::kEnded : is_phase ? Warp::kAwaitsPhase : Warp::kWaits;
    if (waiting == nullptr) return;
    for (const Thread& lane : lanes_of(warp)) {
      if (lane.pause == Pause::kEnded) continue;
      DSL_CHECK(lane.pause == waiting->pause && lane.barrier == waiting->barrier &&
                    lane.phase == waiting->phase,
                "lanes of a warp wait at barriers {} and {}, or for other phases", lane.barrier,
                waiting->barrier);
    }
    if (is_phase || waiting->barrier == kBlockBarrier) return;
    int& arrived = arrived_[static_cast<std::size_t>(waiting->barrier)];
    arrived += kLanes;
    DSL_CHECK(arrived <= waiting->barrier_threads, "{} threads at barrier {} of {}", arrived,
              waiting->barrier, waiting->barrier_threads);
    if (arrived == waiting->barrier_threads) release(waiting->barrier);
  }

  void run_warp(std::size_t warp) {
    const std::span<Thread> lanes = lanes_of(warp);
    while (true) {
      int num_exchanging = 0;
      int num_alive = 0;
      const std::size_t start = order_.start(lanes.size());
      for (std::size_t turn = 0; turn < lanes.size(); ++turn) {
        Thread& thread = lanes[(start + turn) % lanes.size()];
        if (thread.pause == Pause::kEnded) continue;
        ++num_alive;
        resume(thread);
        num_exchanging += thread.pause == Pause::kWarp ? 1 : 0;
      }
      // Real lanes would hang or read garbage.
      DSL_CHECK(num_exchanging == 0 || num_exchanging == kLanes,
                "{} of {} lanes exchange words in block {} of a kernel", num_exchanging, num_alive,
                blockIdx.x);
      if (num_exchanging == 0) return arrive(warp);
    }
  }

  TurnOrder& order_;
  std::vector<Thread> threads_;
  std::vector<LaneWords> words_;
  std::vector<Warp> warps_;
  std::array<int, kBarriers> arrived_{};  // threads
};

void run_taking_turns(const std::function<void()>& thread) {
  thread();
  DSL_CHECK(running->took_turn, "a kernel did not wait for its turn in block {}", blockIdx.x);
}

void run_blocks(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  static TurnOrder order;
  context::pooled_fixedsize_stack stacks(kStackBytes, config.blockDim.x);
  const dim3& grid = config.gridDim;
  for (const unsigned z : order.shuffled(grid.z)) {
    for (const unsigned y : order.shuffled(grid.y)) {
      for (const unsigned x : order.shuffled(grid.x)) {
        std::memset(cuda::shared_bytes, 0xff, config.dynamicSmemBytes);
        blockIdx = dim3(x, y, z);
        Block(config.blockDim, thread, stacks, order).run();
      }
    }
  }
}

}  // namespace

cudaError_t start_grid(const void* kernel, const cudaLaunchConfig_t& config,
                       std::function<void()> thread) {
  return put_grid(kernel, config,
                  [config, takes_turns = may_start_early(config), thread = std::move(thread)](
                      DeviceMemory::Opening& opening, bool) {
                    if (!takes_turns) return run_blocks(config, thread);
                    closed_until_turn = &opening;
                    run_blocks(config, [&] { run_taking_turns(thread); });
                  });
}

void open_memory() {
  if (closed_until_turn != nullptr) std::exchange(closed_until_turn, nullptr)->open();
}

void take_turn() {
  running->took_turn = true;
  open_memory();
}

void wait_for_block() { wait_at_barrier(kBlockBarrier, 0); }

void wait_at_barrier(int barrier, int count) {
  running->barrier = barrier;
  running->barrier_threads = count;
  give_way(Pause::kBarrier);
}

void wait_for_phase(const AwaitedPhase& phase) {
  running->phase = phase;
  give_way(Pause::kPhase);
}

const LaneWords* share_in_warp(const LaneWords& words) {
  Thread* self = running;
  // Two rounds in turn: a lane that goes on writes the next round while others still read this one.
  LaneWords* lanes = self->words + self->round * kLanes;
  self->round ^= 1;
  lanes[self->lane] = words;
  give_way(Pause::kWarp);
  return lanes;
}

std::uint32_t exchange_in_warp(std::uint32_t word, int source_lane) {
  return share_in_warp({word})[source_lane][0];
}

std::deque<std::vector<PendingCopy>>& pending_copies() { return running->copies; }

std::vector<PendingProduct>& pending_products() { return running->products; }

std::uint32_t shared_address(const void* shared) {
  const auto offset = static_cast<const unsigned char*>(shared) - cuda::shared_bytes;
  DSL_CHECK(offset >= 0 && offset < std::ptrdiff_t{kMaxSharedBytes}, "{} is not shared", shared);
  return kSharedWindow + static_cast<std::uint32_t>(offset);
}

const unsigned char* shared_bytes_at(std::uint32_t address) {
  return cuda::shared_bytes + (address - kSharedWindow);
}

int lane_of_warp() { return running->lane; }

}  // namespace dsl::test
