#include "engine/serving/engine_port/gpu_usage.h"

#include <array>

#include "engine/serving/engine_port/nvml_library.h"
#include "engine/serving/engine_port/xid_events.h"

namespace dsl::serving {
namespace {

std::optional<bool> is_repair_pending(const NvmlLibrary& library, NvmlDevice device,
                                      std::optional<bool> of_rows) {
  if (of_rows) return of_rows;
  const auto pages = NvmlLibrary::ask<unsigned>(library.retired_pages_pending, device);
  return pages ? std::optional(*pages != 0) : std::nullopt;
}

std::optional<GpuThrottle> throttle_of(const NvmlLibrary& library, NvmlDevice device) {
  const auto reasons = NvmlLibrary::ask<unsigned long long>(library.throttle_reasons, device);
  if (!reasons) return std::nullopt;
  GpuThrottle throttle;
  throttle.power_cap = (*reasons & kNvmlPowerCap) != 0;
  throttle.thermal = (*reasons & (kNvmlSoftwareThermal | kNvmlHardwareThermal)) != 0;
  throttle.power_brake = (*reasons & kNvmlPowerBrake) != 0;
  throttle.hardware = (*reasons & kNvmlHardwareSlowdown) != 0;
  return throttle;
}

GpuHealth health_of(const NvmlLibrary& library, const XidEvents& xids, NvmlDevice device) {
  GpuHealth health;
  const auto ecc_errors = [&](int since) -> std::optional<std::int64_t> {
    const auto errors =
        NvmlLibrary::ask<unsigned long long>(library.ecc_errors, device, kNvmlUncorrected, since);
    return errors ? std::optional(static_cast<std::int64_t>(*errors)) : std::nullopt;
  };
  health.ecc_errors = ecc_errors(kNvmlSinceDriverStart);
  health.ecc_errors_ever = ecc_errors(kNvmlEver);
  unsigned correctable = 0;
  unsigned uncorrectable = 0;
  unsigned is_pending = 0;
  unsigned has_failed = 0;
  std::optional<bool> rows_pending;
  if (library.remapped_rows != nullptr &&
      library.remapped_rows(device, &correctable, &uncorrectable, &is_pending, &has_failed) ==
          kNvmlSuccess) {
    rows_pending = is_pending != 0;
    health.has_repair_failed = has_failed != 0;
  }
  health.is_repair_pending = is_repair_pending(library, device, rows_pending);
  health.throttle = throttle_of(library, device);
  if (xids.hears(device)) {
    const XidEvents::Heard heard = xids.of(device);
    health.num_xid_errors = heard.count;
    if (heard.count > 0) health.last_xid = heard.last;
  }
  return health;
}

GpuUsage usage_of(const NvmlLibrary& library, const XidEvents& xids, NvmlDevice device) {
  GpuUsage gpu;
  std::array<char, kNvmlNameBytes> name{};
  if (library.name != nullptr &&
      library.name(device, name.data(), kNvmlNameBytes) == kNvmlSuccess) {
    gpu.name = name.data();
  }
  if (const auto used = NvmlLibrary::ask<NvmlUtilization>(library.utilization, device)) {
    gpu.busy_fraction = used->gpu_percent / 100.0;
  }
  if (const auto memory = NvmlLibrary::ask<NvmlMemory>(library.memory, device)) {
    gpu.memory_bytes = static_cast<std::int64_t>(memory->total);
    gpu.memory_used_bytes = static_cast<std::int64_t>(memory->used);
  }
  if (const auto milliwatts = NvmlLibrary::ask<unsigned>(library.power, device)) {
    gpu.power_w = *milliwatts / 1000.0;
  }
  if (const auto celsius =
          NvmlLibrary::ask<unsigned>(library.temperature, device, kNvmlTemperatureOfGpu)) {
    gpu.temperature_c = *celsius;
  }
  gpu.health = health_of(library, xids, device);
  return gpu;
}

}  // namespace

struct GpuProbe::Driver {
  explicit Driver(std::unique_ptr<NvmlLibrary> opened)
      : library(std::move(opened)), xids(*library) {}

  std::unique_ptr<NvmlLibrary> library;
  XidEvents xids;
};

GpuProbe::GpuProbe(const std::string& library) {
  if (auto opened = NvmlLibrary::open(library)) {
    driver_ = std::make_unique<Driver>(std::move(opened));
  }
}

GpuProbe::~GpuProbe() = default;
GpuProbe::GpuProbe(GpuProbe&&) noexcept = default;
GpuProbe& GpuProbe::operator=(GpuProbe&&) noexcept = default;

std::vector<GpuUsage> GpuProbe::read() const {
  std::vector<GpuUsage> gpus;
  unsigned num_gpus = 0;
  if (!driver_ || driver_->library->count(&num_gpus) != kNvmlSuccess) return gpus;
  driver_->xids.poll();
  for (unsigned index = 0; index < num_gpus; ++index) {
    NvmlDevice device = nullptr;
    if (driver_->library->device(index, &device) != kNvmlSuccess) continue;
    gpus.push_back(usage_of(*driver_->library, driver_->xids, device));
    gpus.back().index = static_cast<int>(index);
  }
  return gpus;
}

}  // namespace dsl::serving
