// Scratch for the checks of products before a device serves.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/scratch_bounds.h"
#include "engine/kernels/cuda/scratch_space.h"

namespace dsl::cuda {

/// The same numbers in every run.
class CheckRandom {
 public:
  int below(int limit) {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<int>((state_ >> 16) % static_cast<std::uint32_t>(limit));
  }
  /// A BF16 value with a full mantissa, of either sign, whose exponent is one of so many around 0.
  float value(int exponents) {
    const float mantissa = 1.0f + static_cast<float>(below(128)) / 128;
    const float sign = below(2) == 0 ? 1.0f : -1.0f;
    return sign * std::ldexp(mantissa, below(exponents) - exponents / 2);
  }

 private:
  std::uint32_t state_ = 1;
};

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
