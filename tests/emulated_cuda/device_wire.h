// A wire that carries the memory of emulated devices, as a UCX that was built for CUDA does.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/emulated_cuda/include/cuda_runtime_api.h"
#include "transport/wire/wire.h"

namespace dsl::test {

/// Carries it by copies to and from the host around another wire. As with UCX, the device must be
/// current on the thread that calls: the copies fail where it is not. Owns the other wire.
class DeviceWire final : public wire::Wire {
 public:
  explicit DeviceWire(std::unique_ptr<wire::Wire> wire) : wire_(std::move(wire)) {}
  ~DeviceWire() override;

  int rank() const override { return wire_->rank(); }
  int world_size() const override { return wire_->world_size(); }
  bool carries(wire::MemoryType) const override { return true; }
  using Wire::receive;
  using Wire::send;
  Result<wire::Request> send(int peer, wire::Tag tag, ConstBytes data,
                             wire::MemoryType memory) override;
  Result<wire::Request> receive(int peer, wire::Tag tag, MutableBytes data,
                                wire::MemoryType memory) override;
  Status wait(wire::Request request, Deadline deadline) override;
  Result<bool> done(wire::Request request) override { return wire_->done(request); }
  std::vector<wire::LinkReport> links() const override { return wire_->links(); }
  void abort(Error reason) override { wire_->abort(std::move(reason)); }

 private:
  /// A message from or to a device's memory.
  struct Staged {
    std::vector<std::byte> bytes;
    std::byte* target = nullptr;  // of a receive
  };

  Status copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);

  std::unique_ptr<wire::Wire> wire_;
  std::unordered_map<std::uint64_t, Staged> staged_;  // by request
  cudaStream_t stream_ = nullptr;                     // of the device that is current at first
};

}  // namespace dsl::test
