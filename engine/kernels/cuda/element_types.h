// Element types known at run time, as types.
#pragma once

#include "engine/tensor/views.h"
#include "transport/base/error.h"

namespace dsl::cuda {

/// Calls `work` with a value of the activation's element type.
template <typename Work>
void with_activation(DType dtype, const Work& work) {
  if (dtype == DType::kBF16) return work(BFloat16{});
  DSL_CHECK(dtype == DType::kF32, "activations are {}", name_of(dtype));
  work(float{});
}

/// Calls `work` with a value of the weight's element type.
template <typename Work>
void with_weight(DType dtype, const Work& work) {
  switch (dtype) {
    case DType::kF32:
      return work(float{});
    case DType::kBF16:
      return work(BFloat16{});
    case DType::kF16:
      return work(Float16{});
    case DType::kF8E4M3:
      return work(Float8E4M3{});
    default:
      DSL_CHECK(false, "weights are {}", name_of(dtype));
  }
}

}  // namespace dsl::cuda
