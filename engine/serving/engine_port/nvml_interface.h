// The part of NVML's stable C interface that is used here, as the library is loaded at run time and
// its header need not be there. Layouts: nvmlUtilization_t, nvmlMemory_t and nvmlEventData_t of
// nvml.h, CUDA toolkit.
#pragma once

namespace dsl::serving {

/// Opaque handles.
using NvmlDevice = void*;
using NvmlEventSet = void*;

inline constexpr int kNvmlSuccess = 0;
inline constexpr int kNvmlNotSupported = 3;
inline constexpr int kNvmlTimeout = 10;
inline constexpr int kNvmlTemperatureOfGpu = 0;
inline constexpr unsigned kNvmlNameBytes = 96;

/// Of errors in memory, and since when they are counted.
inline constexpr int kNvmlUncorrected = 1;
inline constexpr int kNvmlSinceDriverStart = 0;
inline constexpr int kNvmlEver = 1;

/// Why clocks are lower than they could be.
inline constexpr unsigned long long kNvmlPowerCap = 0x4;
inline constexpr unsigned long long kNvmlHardwareSlowdown = 0x8;
inline constexpr unsigned long long kNvmlSoftwareThermal = 0x20;
inline constexpr unsigned long long kNvmlHardwareThermal = 0x40;
inline constexpr unsigned long long kNvmlPowerBrake = 0x80;

inline constexpr unsigned long long kNvmlXidEvent = 0x8;

struct NvmlUtilization {
  unsigned gpu_percent = 0;
  unsigned memory_percent = 0;
};

struct NvmlMemory {
  unsigned long long total = 0;
  unsigned long long free = 0;
  unsigned long long used = 0;
};

struct NvmlEvent {
  NvmlDevice device = nullptr;
  unsigned long long type = 0;
  unsigned long long data = 0;  // of an Xid: its number
  unsigned gpu_instance = 0;
  unsigned compute_instance = 0;
};

}  // namespace dsl::serving
