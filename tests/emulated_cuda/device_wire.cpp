#include "tests/emulated_cuda/device_wire.h"

#include "tests/emulated_cuda/emulated_devices.h"

namespace dsl::test {

DeviceWire::~DeviceWire() {
  wire_.reset();
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

Status DeviceWire::copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const void* const of_device = kind == cudaMemcpyDeviceToHost ? from : to;
  if (!is_device_memory(of_device, bytes)) {
    return fail(ErrorCode::kInvalidArgument, "", "rank {}: {} bytes that are no device's", rank(),
                bytes);
  }
  if (stream_ == nullptr) cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, stream_);
  if (error == cudaSuccess && cudaStreamSynchronize(stream_) == cudaSuccess) return {};
  return fail(ErrorCode::kTransport, "", "rank {}: copying a message: {}", rank(),
              cudaGetErrorString(error));
}

Result<wire::Request> DeviceWire::send(int peer, wire::Tag tag, ConstBytes data,
                                       wire::MemoryType memory) {
  if (memory == wire::MemoryType::kHost) return wire_->send(peer, tag, data);
  Staged staged{std::vector<std::byte>(data.size())};
  DSL_TRY(copy(staged.bytes.data(), data.data(), data.size(), cudaMemcpyDeviceToHost));
  DSL_ASSIGN(const wire::Request request, wire_->send(peer, tag, staged.bytes));
  staged_.emplace(request.id, std::move(staged));
  return request;
}

Result<wire::Request> DeviceWire::receive(int peer, wire::Tag tag, MutableBytes data,
                                          wire::MemoryType memory) {
  if (memory == wire::MemoryType::kHost) return wire_->receive(peer, tag, data);
  Staged staged{std::vector<std::byte>(data.size()), data.data()};
  DSL_ASSIGN(const wire::Request request, wire_->receive(peer, tag, staged.bytes));
  staged_.emplace(request.id, std::move(staged));
  return request;
}

Status DeviceWire::wait(wire::Request request, Deadline deadline) {
  Status status = wire_->wait(request, deadline);
  const auto found = staged_.find(request.id);
  if (found == staged_.end()) return status;
  const Staged staged = std::move(found->second);
  staged_.erase(found);
  if (!status || staged.target == nullptr) return status;
  return copy(staged.target, staged.bytes.data(), staged.bytes.size(), cudaMemcpyHostToDevice);
}

}  // namespace dsl::test
