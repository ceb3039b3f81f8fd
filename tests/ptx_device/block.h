// A block of threads: its warps, barriers and memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tests/ptx_device/access_counts.h"
#include "tests/ptx_device/global_memory.h"
#include "tests/ptx_device/kernel.h"
#include "tests/ptx_device/module.h"
#include "tests/ptx_device/register_counts.h"
#include "tests/ptx_device/shared_memory.h"
#include "tests/ptx_device/warp.h"

namespace dsl::test::ptx {

/// What all blocks of a grid share, or use one after the other.
struct Grid {
  const Kernel& kernel;
  const GridShape& shape;
  std::span<const std::byte> parameters;
  GlobalMemory memory;
  AccessCounts* counts;  // null where they are not asked for
  SharedMemory shared;
  std::deque<Registers> registers;  // by warp
  std::minstd_rand order{1};        // of blocks and warps
};

class Block {
 public:
  Block(Grid& grid, std::array<std::uint32_t, 3> index);

  void run();

  Grid& grid() { return grid_; }
  SharedMemory& shared() { return grid_.shared; }
  RegisterCounts& register_counts() { return register_counts_; }
  const std::array<std::uint32_t, 3>& index() const { return index_; }

 private:
  struct Arrivals {
    std::vector<std::uint32_t> warps;
    std::uint32_t threads = 0;  // that the barrier waits for; 0: all of the block
  };

  bool run_ready_warps();
  void arrive(Warp& warp);
  void release(Arrivals& arrivals);
  bool release_full_barriers();
  bool pass_ended_phases();
  std::string waiting_for_phases() const;
  bool multiply_where_all_wait();

  Grid& grid_;
  std::array<std::uint32_t, 3> index_;
  std::deque<Warp> warps_;
  std::array<Arrivals, 16> barriers_;
  std::vector<AwaitedPhase> awaited_;  // by warp, while it is at an mbarrier
  RegisterCounts register_counts_;
};

}  // namespace dsl::test::ptx
