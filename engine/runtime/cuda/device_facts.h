// Which devices this process sees, and which one of the machine a device is.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <string>
#include <string_view>

#include "engine/runtime/cuda/cuda_status.h"

namespace dsl::cuda {

/// kNotFound where there is none.
inline Result<int> count_devices() {
  int count = 0;
  DSL_TRY(cuda_status(cudaGetDeviceCount(&count), "counting CUDA devices"));
  return count;
}

struct DeviceFacts {
  std::string name;        // for people
  std::string identifier;  // the same in every process of the node, whatever it sees
};

inline Result<DeviceFacts> facts_of(int device) {
  const std::string what = fmt::format("asking CUDA device {} what it is", device);
  std::array<char, 32> bus{};
  DSL_TRY(
      cuda_status(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), device), what));
  cudaDeviceProp properties{};
  DSL_TRY(cuda_status(cudaGetDeviceProperties(&properties, device), what));
  DeviceFacts facts;
  facts.name = fmt::format("CUDA device {} ({}, {})", device, properties.name, bus.data());
  // Parts of a partitioned GPU share its place on the bus.
  facts.identifier = std::string(bus.data()) + " ";
  facts.identifier += std::string_view(properties.uuid.bytes, sizeof(properties.uuid.bytes));
  return facts;
}

}  // namespace dsl::cuda
