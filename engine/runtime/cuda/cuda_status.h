// CUDA's error codes as values.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "engine/runtime/cuda/device_obstacles.h"
#include "transport/base/error.h"

namespace dsl::cuda {

/// `what` names the operation. Too little memory is kOutOfMemory, no usable device kNotFound,
/// the rest kInternal: after most of them the process cannot use its device any more.
inline Status cuda_status(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return {};
  if (error == cudaErrorMemoryAllocation) {
    return fail(ErrorCode::kOutOfMemory, "ask for fewer cached tokens or use more ranks", "{}: {}",
                what, cudaGetErrorString(error));
  }
  const std::string reason =
      fmt::format("{} ({})", cudaGetErrorString(error), cudaGetErrorName(error));
  const Obstacle obstacle = obstacle_of(error);
  if (obstacle.remedy.empty()) {
    return fail(ErrorCode::kInternal,
                "start the rank again; if it happens again, look at the kernel log for Xid errors",
                "{}: {}", what, reason);
  }
  return fail(ErrorCode::kNotFound, std::string(obstacle.remedy), "{}: {}{}{}", what, reason,
              obstacle.is_between_versions ? ": " : "",
              obstacle.is_between_versions ? describe_versions() : "");
}

}  // namespace dsl::cuda
