// What one op is given, moved to a device and back: tests keep their matrices on the host.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "engine/kernels/device.h"

namespace dsl::test {

/// Memory of a device that the ops of a test use one after the other. Owns it.
class DeviceArena {
 public:
  explicit DeviceArena(Memory& memory) : memory_(memory) {}

  Memory& memory() const { return memory_; }
  std::byte* reserve(std::size_t bytes);

 private:
  Memory& memory_;
  Buffer buffer_;
};

/// The arguments of one call. Views are registered, then run() points them to copies on the device,
/// which lie at the same offsets from 256 bytes as on the host; what lies between them is NaN.
/// Non-owning: the views must outlive run().
class DeviceCopies {
 public:
  explicit DeviceCopies(DeviceArena& arena) : arena_(arena) {}

  void read(Matrix& matrix) { add(matrix, false); }
  void read(WeightView& weight);
  void read(VectorView& vector);
  void read(MatrixView<const float>& matrix);
  void read(RopeTable& table);
  void read(LatentCache& cache) { add(cache, false); }
  void read(LeafSums& sums) { add(sums, false); }
  void read(Routing& routing) { add(routing, false); }
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
  /// Ranges that overlap, and where their copy lies in the arena.
  struct Place {
    std::byte* begin = nullptr;
    std::byte* end = nullptr;
    std::size_t offset = 0;
  };

  void add(Matrix& matrix, bool is_written);
  void add(LatentCache& cache, bool is_written);
  void add(LeafSums& sums, bool is_written);
  void add(Routing& routing, bool is_written);
  template <typename T>
  void add_range(T*& pointer, std::size_t bytes, bool is_written);
  std::vector<Place> place();

  DeviceArena& arena_;
  std::vector<Range> ranges_;
};

}  // namespace dsl::test
