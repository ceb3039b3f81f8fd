// What one op is given, moved to a device and back: tests keep their matrices on the host.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "engine/kernels/device.h"

namespace dsl::test {

/// The arguments of one call. Views are registered, then run() points them to copies on the device,
/// which lie at the same offsets from 256 bytes as on the host, each in an allocation of its own.
/// Before and behind them is NaN, but for a device that knows to the byte where allocations end.
/// Non-owning: the views must outlive run().
class DeviceCopies {
 public:
  explicit DeviceCopies(Memory& memory) : memory_(memory) {}

  void read(Matrix& matrix) { add(matrix, false); }
  void read(WeightView& weight);
  void read(VectorView& vector);
  void read(MatrixView<const float>& matrix);
  void read(RopeTable& table);
  void read(LatentCache& cache) { add(cache, false); }
  void read(LeafSums& sums) { add(sums, false); }
  void read(Routing& routing) { add(routing, false); }
  void read(ExpertWeights& expert) {
    read(expert.gate_proj);
    read(expert.up_proj);
    read(expert.down_proj);
  }
  void write(Matrix& matrix) { add(matrix, true); }
  void write(MatrixView<float>& matrix);
  void write(LatentCache& cache) { add(cache, true); }
  void write(LeafSums& sums) { add(sums, true); }
  void write(Routing& routing) { add(routing, true); }

  /// `call` with the views on the device, until its work is done. What it wrote to registered
  /// outputs comes back; a byte that it changed elsewhere ends the test.
  void run(Ops& ops, const std::function<void()>& call);

 private:
  /// Bytes of the host and who points to them.
  struct Range {
    std::byte* begin = nullptr;
    std::byte* end = nullptr;
    bool is_written = false;
    std::function<void(std::byte*)> point_to;
  };
  /// Ranges that overlap, and their copy.
  struct Place {
    std::byte* begin = nullptr;
    std::byte* end = nullptr;
    Buffer buffer;
    std::vector<std::byte> bytes;  // of the whole allocation, as they are to be
    std::ptrdiff_t offset = 0;     // in both
  };

  void add(Matrix& matrix, bool is_written);
  void add(LatentCache& cache, bool is_written);
  void add(LeafSums& sums, bool is_written);
  void add(Routing& routing, bool is_written);
  template <typename T>
  void add_range(T*& pointer, std::size_t bytes, bool is_written);
  std::vector<Place> place();
  void copy_to_device(Place& place);
  void copy_back(Place& place);

  Memory& memory_;
  std::vector<Range> ranges_;
};

}  // namespace dsl::test
