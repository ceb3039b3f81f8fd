// The part of NVML's stable C interface that is used here, as the library is loaded at run time and
// its header need not be there. Layouts: nvmlUtilization_t and nvmlMemory_t of nvml.h, CUDA
// toolkit.
#pragma once

namespace dsl::serving {

/// An opaque handle.
using NvmlDevice = void*;
inline constexpr int kNvmlSuccess = 0;
inline constexpr int kNvmlTemperatureOfGpu = 0;
inline constexpr unsigned kNvmlNameBytes = 96;

struct NvmlUtilization {
  unsigned gpu_percent = 0;
  unsigned memory_percent = 0;
};

struct NvmlMemory {
  unsigned long long total = 0;
  unsigned long long free = 0;
  unsigned long long used = 0;
};

}  // namespace dsl::serving
