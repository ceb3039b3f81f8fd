// What every op on the device needs: the stream, scratch, and the first failure.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "engine/kernels/cuda/dependent_launch.h"
#include "engine/kernels/cuda/device_copy.h"
#include "engine/kernels/cuda/launch.cuh"
#include "engine/kernels/cuda/scratch_bounds.h"
#include "engine/kernels/cuda/warpgroups.h"
#include "engine/kernels/ops_limits.h"
#include "engine/runtime/cuda/device_buffer.h"
#include "engine/runtime/cuda/stream.h"

namespace dsl::cuda {

inline constexpr std::int64_t kMaxGridRows = 65535;  // of the grid's y and z

/// Starts kernels one behind the other; they take turns (turns.cuh). Thread-compatible.
class Launcher {
 public:
  explicit Launcher(std::shared_ptr<const Stream> stream)
      : stream_(std::move(stream)),
        max_shared_bytes_(cuda::max_shared_bytes(stream_->device())),
        num_multiprocessors_(
            std::max(device_attribute(cudaDevAttrMultiProcessorCount, stream_->device()), 1)),
        has_warpgroups_(uses_warpgroups(stream_->device())),
        may_start_early_(uses_dependent_launch(stream_->device())) {}

  /// To be called first by every thread that starts kernels.
  Status enter_thread() const { return stream_->enter_thread(); }

  template <typename... Parameters, typename... Arguments>
  void run(const LaunchShape& shape, void (*kernel)(Parameters...), Arguments&&... arguments) {
    LaunchShape turn = shape;
    turn.max_shared_bytes = max_shared_bytes_;
    turn.may_start_early = may_start_early_;
    note(cuda_status(launch(stream_->get(), turn, kernel, std::forward<Arguments>(arguments)...),
                     "starting a kernel"));
  }

  /// The device's copy; null after a failure.
  template <typename T>
  const T* copy(DeviceCopy<T>& device_copy, std::span<const T> values) {
    const std::int64_t held = device_copy.held_bytes();
    Result<const T*> copied = device_copy.of(values, *stream_);
    moves_ += device_copy.held_bytes() == held ? 0 : 1;
    if (copied) return *copied;
    note(tl::unexpected<Error>(std::move(copied).error()));
    return nullptr;
  }

  /// Until the next call, by whatever op. Null after a failure.
  template <typename T>
  T* scratch(std::int64_t count) {
    const std::size_t held = scratch_.bytes();
    Status reserved = scratch_.reserve(static_cast<std::size_t>(count) * sizeof(T), "scratch");
    moves_ += scratch_.bytes() == held ? 0 : 1;
    if (reserved) return static_cast<T*>(scratch_.data());
    note(std::move(reserved));
    return nullptr;
  }

  /// Copies to the host what was started so far has left, and waits for it.
  Status read(void* to, const void* from, std::size_t bytes) {
    if (!failure_) {
      note(cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_->get()),
                       "copying results from the device"));
    }
    return finish();
  }

  /// What scratch() then needs not allocate in the middle of a step.
  Status reserve_scratch(std::int64_t bytes) {
    ++moves_;
    return scratch_.reserve(static_cast<std::size_t>(bytes), "scratch");
  }
  /// Those of `count` rows or heads that a pass takes when one needs so much scratch.
  std::int64_t count_of_pass(std::int64_t count, std::int64_t bytes_of_one) const {
    return cuda::count_of_pass(passes_.bytes, count, bytes_of_one);
  }
  /// The same of rows of experts.
  std::int64_t count_of_expert_pass(std::int64_t count, std::int64_t bytes_of_one) const {
    return cuda::count_of_pass(passes_.expert_bytes, count, bytes_of_one);
  }
  void limit_passes(const PassLimits& limits) { passes_ = limits; }
  std::int64_t scratch_bytes() const { return static_cast<std::int64_t>(scratch_.bytes()); }

  /// Waits for all that was started; the first failure comes out once.
  Status finish() {
    const Status ended = stream_->wait();
    if (!failure_) return ended;
    return tl::unexpected<Error>(*std::exchange(failure_, std::nullopt));
  }

  const std::optional<Error>& failure() const { return failure_; }
  /// As it was before launches whose failures do not matter.
  void set_failure(std::optional<Error> failure) { failure_ = std::move(failure); }

  const Stream& stream() const { return *stream_; }
  /// Of a kernel on this device.
  std::size_t max_shared_bytes() const { return max_shared_bytes_; }
  std::int64_t num_multiprocessors() const { return num_multiprocessors_; }
  bool has_warpgroups() const { return has_warpgroups_; }
  /// Whether they multiply BF16 too. Not before somebody knows that their bits are those of other
  /// kernels (bf16_product_check.h).
  bool has_bf16_warpgroups() const { return has_bf16_warpgroups_; }
  void use_bf16_warpgroups(bool is_wanted) { has_bf16_warpgroups_ = is_wanted && has_warpgroups_; }
  /// The same of attention (attention_check.h).
  bool has_attention_warpgroups() const { return has_attention_warpgroups_; }
  void use_attention_warpgroups(bool is_wanted) {
    has_attention_warpgroups_ = is_wanted && has_warpgroups_;
  }
  /// How often a copy or the scratch was allocated anew. Not whether it then had another address:
  /// that is the driver's choice, which the shards of a stage need not share.
  std::int64_t moves() const { return moves_; }

 private:
  /// The first failure stays: what follows works on garbage, and nobody reads it.
  void note(Status status) {
    if (!status && !failure_) failure_ = std::move(status).error();
  }

  std::shared_ptr<const Stream> stream_;
  std::size_t max_shared_bytes_;
  std::int64_t num_multiprocessors_;
  bool has_warpgroups_;
  bool may_start_early_;
  bool has_bf16_warpgroups_ = false;
  bool has_attention_warpgroups_ = false;
  DeviceBuffer scratch_;
  PassLimits passes_;
  std::int64_t moves_ = 0;
  std::optional<Error> failure_;
};

}  // namespace dsl::cuda
