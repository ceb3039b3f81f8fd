#include "tests/ptx_device/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/mbarrier_rules.h"
#include "tests/ptx_device/memory_uses.h"
#include "tests/ptx_device/warpgroup_products.h"

namespace dsl::test::ptx {
namespace {

constexpr std::uint32_t kWarpsOfGroup = 4;
/// With 255 registers each, the most of a thread, so many have room among the 64 Ki of a processor.
constexpr std::uint32_t kAnyRegistersThreads = 256;

std::uint32_t warps_for(std::uint32_t threads) { return (threads + kLanes - 1) / kLanes; }

}  // namespace

Block::Block(Grid& grid, std::array<std::uint32_t, 3> index)
    : grid_(grid),
      index_(index),
      awaited_(warps_for(grid.shape.threads)),
      register_counts_(grid.kernel, warps_for(grid.shape.threads)) {
  grid.shared.begin_block();
  memory_uses().begin_block();
  for (std::uint32_t warp = 0; warp < warps_for(grid.shape.threads); ++warp) {
    warps_.emplace_back(*this, grid.kernel, warp,
                        std::min<std::uint32_t>(kLanes, grid.shape.threads - warp * kLanes));
  }
}

void Block::run() {
  while (true) {
    if (run_ready_warps() || pass_ended_phases() || multiply_where_all_wait() ||
        release_full_barriers())
      continue;
    if (std::ranges::all_of(warps_,
                            [](const Warp& warp) { return warp.state() == Warp::State::kEnded; }))
      return register_counts_.check();
    throw Fault(fmt::format("all warps of block {} of {} wait for others{}", index_[0],
                            grid_.kernel.name, waiting_for_phases()));
  }
}

bool Block::run_ready_warps() {
  std::vector<Warp*> order;
  for (Warp& warp : warps_) order.push_back(&warp);
  // Another order each time, the same in every run: what relies on one shows sooner or later.
  std::ranges::shuffle(order, grid_.order);
  bool has_run = false;
  for (Warp* warp : order) {
    if (warp->state() != Warp::State::kReady) continue;
    has_run = true;
    const Warp::State state = warp->run();
    if (state == Warp::State::kAtBarrier) arrive(*warp);
    if (state == Warp::State::kAtMbarrier) awaited_[warp->index()] = awaited_phase(*warp);
  }
  return has_run;
}

bool Block::pass_ended_phases() {
  bool has_passed = false;
  for (Warp& warp : warps_) {
    if (warp.state() != Warp::State::kAtMbarrier) continue;
    has_passed |= pass_if_ended(warp, awaited_[warp.index()]);
  }
  return has_passed;
}

std::string Block::waiting_for_phases() const {
  std::string text;
  for (const Warp& warp : warps_) {
    if (warp.state() != Warp::State::kAtMbarrier) continue;
    const AwaitedPhase& awaited = awaited_[warp.index()];
    const Mbarrier& mbarrier = grid_.shared.mbarrier(awaited.address);
    text += fmt::format(
        "; warp {} for phase {} of the mbarrier at {}, which lacks {} arrivals of {}", warp.index(),
        awaited.number, awaited.address, mbarrier.pending, mbarrier.expected);
  }
  return text;
}

void Block::arrive(Warp& warp) {
  const Instruction& instruction = warp.waits_at();
  const auto number = warp.registers().get<std::uint32_t>(instruction.operands[0], 0);
  const std::uint32_t threads =
      instruction.operands.size() < 2
          ? 0
          : warp.registers().get<std::uint32_t>(instruction.operands[1], 0);
  if (number >= barriers_.size() || threads % kLanes != 0 || threads > grid_.shape.threads) {
    throw Fault(fmt::format("barrier {} for {} threads in {}", number, threads, grid_.kernel.name));
  }
  Arrivals& arrivals = barriers_[number];
  if (!arrivals.warps.empty() && arrivals.threads != threads) {
    throw Fault(fmt::format("barrier {} of {} is for {} threads and for {}", number,
                            grid_.kernel.name, arrivals.threads, threads));
  }
  arrivals.threads = threads;
  arrivals.warps.push_back(warp.index());
  if (threads != 0 && arrivals.warps.size() * kLanes == threads) release(arrivals);
}

void Block::release(Arrivals& arrivals) {
  shared().meet(arrivals.warps);
  for (const std::uint32_t warp : arrivals.warps) warps_[warp].pass();
  arrivals.warps.clear();
}

bool Block::release_full_barriers() {
  // Warps that have ended do not count.
  const auto alive = static_cast<std::size_t>(std::ranges::count_if(
      warps_, [](const Warp& warp) { return warp.state() != Warp::State::kEnded; }));
  for (Arrivals& arrivals : barriers_) {
    if (arrivals.warps.empty() || arrivals.threads != 0 || arrivals.warps.size() != alive) continue;
    release(arrivals);
    return true;
  }
  return false;
}

bool Block::multiply_where_all_wait() {
  for (std::size_t first = 0; first + kWarpsOfGroup <= warps_.size(); first += kWarpsOfGroup) {
    std::vector<Warp*> group;
    for (std::size_t i = 0; i < kWarpsOfGroup; ++i) group.push_back(&warps_[first + i]);
    if (!std::ranges::all_of(
            group, [](const Warp* warp) { return warp->state() == Warp::State::kAtProducts; })) {
      continue;
    }
    multiply_pending(group);
    for (Warp* warp : group) warp->pass();
    return true;
  }
  return false;
}

void run_grid(const Kernel& kernel, const GridShape& shape, std::span<const std::byte> parameters,
              std::span<const MemoryArea> memory) {
  if (kernel.max_threads != 0 && shape.threads > kernel.max_threads) {
    throw Fault(fmt::format("{} threads in a block of {}, which is for {}", shape.threads,
                            kernel.name, kernel.max_threads));
  }
  if (kernel.max_threads == 0 && shape.threads > kAnyRegistersThreads) {
    throw Fault(
        fmt::format("{} threads in a block of {}: more than {} may take more registers than "
                    "there are, where no __launch_bounds__ bounds them",
                    shape.threads, kernel.name, kAnyRegistersThreads));
  }
  if (parameters.size() != kernel.parameter_bytes) {
    throw Fault(fmt::format("{} bytes of parameters for {}, which takes {}", parameters.size(),
                            kernel.name, kernel.parameter_bytes));
  }
  memory_uses().begin_grid(shape.may_start_early && shape.follows_kernel);
  const std::uint32_t num_warps = warps_for(shape.threads);
  Grid grid{.kernel = kernel,
            .shape = shape,
            .parameters = parameters,
            .memory = GlobalMemory(memory),
            .counts = access_counts(),
            .shared = SharedMemory(shape.shared_bytes, num_warps),
            .registers = {}};
  for (std::uint32_t warp = 0; warp < num_warps; ++warp) {
    set_constants(kernel, grid.registers.emplace_back(kernel.register_bytes));
  }
  if (grid.counts != nullptr) grid.counts->note_grid(kernel);
  std::vector<std::uint32_t> blocks(shape.grid[0] * shape.grid[1] * shape.grid[2]);
  std::iota(blocks.begin(), blocks.end(), 0u);
  std::ranges::shuffle(blocks, grid.order);
  for (const std::uint32_t block : blocks) {
    Block(grid, {block % shape.grid[0], block / shape.grid[0] % shape.grid[1],
                 block / shape.grid[0] / shape.grid[1]})
        .run();
  }
}

}  // namespace dsl::test::ptx
