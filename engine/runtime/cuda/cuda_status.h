// CUDA's error codes as values.
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

#include "transport/base/error.h"

namespace dsl::cuda {

/// `what` names the operation. Too little memory is kOutOfMemory, no usable device kNotFound,
/// the rest kInternal: after most of them the process cannot use its device any more.
inline Status cuda_status(cudaError_t error, std::string_view what) {
  switch (error) {
    case cudaSuccess:
      return {};
    case cudaErrorMemoryAllocation:
      return fail(ErrorCode::kOutOfMemory, "ask for fewer cached tokens or use more ranks",
                  "{}: {}", what, cudaGetErrorString(error));
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInvalidDevice:
      return fail(ErrorCode::kNotFound,
                  "see nvidia-smi: the node needs an NVIDIA GPU and a driver for this CUDA version",
                  "{}: {}", what, cudaGetErrorString(error));
    default:
      return fail(
          ErrorCode::kInternal,
          "start the rank again; if it happens again, look at the kernel log for Xid errors",
          "{}: {} ({})", what, cudaGetErrorString(error), cudaGetErrorName(error));
  }
}

}  // namespace dsl::cuda
