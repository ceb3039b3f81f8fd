// Scratch for the checks of products before a device serves.
#pragma once

#include <vector>

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/scratch_bounds.h"
#include "engine/kernels/cuda/scratch_space.h"

namespace dsl::cuda {

/// Puts operands on the device one behind the other, in scratch that the next op takes back: at
/// most kProductCheckBytes. Non-owning.
class CheckOperands {
 public:
  static Result<CheckOperands> open(Launcher& launcher) {
    auto* const begin = launcher.scratch<std::byte>(kProductCheckBytes);
    if (begin == nullptr) return tl::unexpected<Error>(launcher.finish().error());
    return CheckOperands(launcher, begin);
  }

  /// The copy is in order with kernels; `values` must outlive it.
  template <typename T>
  Result<T*> put(const std::vector<T>& values) {
    T* const to = take<T>(std::ssize(values));
    DSL_TRY(cuda_status(cudaMemcpyAsync(to, values.data(), values.size() * sizeof(T),
                                        cudaMemcpyHostToDevice, launcher_->stream().get()),
                        "copying the operands of a check of products"));
    return to;
  }
  template <typename T>
  T* take(std::int64_t count) {
    left_ -= scratch_piece(count * std::int64_t{sizeof(T)});
    DSL_CHECK(left_ >= 0, "a check of products takes {} bytes too many", -left_);
    return space_.take<T>(count);
  }

 private:
  CheckOperands(Launcher& launcher, std::byte* begin) : launcher_(&launcher), space_(begin) {}

  Launcher* launcher_;
  ScratchSpace space_;
  std::int64_t left_ = kProductCheckBytes;
};

}  // namespace dsl::cuda
