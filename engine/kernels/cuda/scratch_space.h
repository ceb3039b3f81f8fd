// How one op divides the scratch that it was given.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/cuda/scratch_bounds.h"

namespace dsl::cuda {

/// Hands out one piece behind the other, each aligned as scratch_piece() counts. Non-owning.
class ScratchSpace {
 public:
  explicit ScratchSpace(std::byte* begin) : next_(begin) {}

  template <typename T>
  T* take(std::int64_t count) {
    std::byte* const piece = next_;
    next_ += scratch_piece(count * static_cast<std::int64_t>(sizeof(T)));
    return reinterpret_cast<T*>(piece);
  }

 private:
  std::byte* next_;
};

}  // namespace dsl::cuda
