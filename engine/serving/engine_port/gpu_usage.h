// What the GPUs of this node do and how they are, from NVIDIA's management library (NVML) where
// there is one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/serving/engine_port/gpu_health.h"

namespace dsl::serving {

/// Unset: this GPU or driver does not tell.
struct GpuUsage {
  int index = 0;
  std::string name;
  std::optional<double> busy_fraction;  // of the time, lately
  std::optional<std::int64_t> memory_bytes;
  std::optional<std::int64_t> memory_used_bytes;
  std::optional<double> power_w;
  std::optional<double> temperature_c;
  GpuHealth health;
};

/// Owns the loaded library; hears of Xid errors from its creation on. NVML's own header and library
/// are not needed to build. Thread-compatible.
class GpuProbe {
 public:
  /// Without a library of this name, or a driver for it, there are no GPUs to tell of.
  explicit GpuProbe(const std::string& library = "libnvidia-ml.so.1");
  ~GpuProbe();
  GpuProbe(GpuProbe&&) noexcept;
  GpuProbe& operator=(GpuProbe&&) noexcept;

  std::vector<GpuUsage> read() const;

 private:
  struct Driver;
  std::unique_ptr<Driver> driver_;  // null: none
};

}  // namespace dsl::serving
