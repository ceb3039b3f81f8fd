#include "engine/serving/engine_port/gpu_usage.h"

#include <dlfcn.h>

#include <array>

#include "engine/serving/engine_port/nvml_interface.h"

namespace dsl::serving {
namespace {

/// Runs one of NVML's questions; nothing where it is not known or fails.
template <typename Value, typename Question>
std::optional<Value> ask(Question question, NvmlDevice device) {
  Value value{};
  if (question == nullptr || question(device, &value) != kNvmlSuccess) return std::nullopt;
  return value;
}

}  // namespace

struct GpuProbe::Library {
  explicit Library(void* opened) : handle(opened) {}
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (is_initialised) shut_down();
    ::dlclose(handle);
  }

  template <typename Function>
  Function find(const char* symbol) const {
    return reinterpret_cast<Function>(::dlsym(handle, symbol));
  }

  /// False where it lacks what one cannot do without, or there is no driver.
  bool initialise() {
    const auto init = find<int (*)()>("nvmlInit_v2");
    if (init == nullptr || shut_down == nullptr || count == nullptr || device == nullptr ||
        init() != kNvmlSuccess) {
      return false;
    }
    is_initialised = true;
    return true;
  }

  void* handle;
  bool is_initialised = false;
  int (*shut_down)() = find<int (*)()>("nvmlShutdown");
  int (*count)(unsigned*) = find<int (*)(unsigned*)>("nvmlDeviceGetCount_v2");
  int (*device)(unsigned, NvmlDevice*) =
      find<int (*)(unsigned, NvmlDevice*)>("nvmlDeviceGetHandleByIndex_v2");
  int (*name)(NvmlDevice, char*,
              unsigned) = find<int (*)(NvmlDevice, char*, unsigned)>("nvmlDeviceGetName");
  int (*utilization)(NvmlDevice, NvmlUtilization*) =
      find<int (*)(NvmlDevice, NvmlUtilization*)>("nvmlDeviceGetUtilizationRates");
  int (*memory)(NvmlDevice,
                NvmlMemory*) = find<int (*)(NvmlDevice, NvmlMemory*)>("nvmlDeviceGetMemoryInfo");
  int (*power)(NvmlDevice,
               unsigned*) = find<int (*)(NvmlDevice, unsigned*)>("nvmlDeviceGetPowerUsage");
  int (*temperature)(NvmlDevice, int, unsigned*) =
      find<int (*)(NvmlDevice, int, unsigned*)>("nvmlDeviceGetTemperature");
};

GpuProbe::GpuProbe(const std::string& library) {
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return;
  library_ = std::make_unique<Library>(handle);
  if (!library_->initialise()) library_.reset();
}

GpuProbe::~GpuProbe() = default;
GpuProbe::GpuProbe(GpuProbe&&) noexcept = default;
GpuProbe& GpuProbe::operator=(GpuProbe&&) noexcept = default;

std::vector<GpuUsage> GpuProbe::read() const {
  std::vector<GpuUsage> gpus;
  unsigned num_gpus = 0;
  if (!library_ || library_->count(&num_gpus) != kNvmlSuccess) return gpus;
  for (unsigned index = 0; index < num_gpus; ++index) {
    NvmlDevice device = nullptr;
    if (library_->device(index, &device) != kNvmlSuccess) continue;
    GpuUsage gpu;
    gpu.index = static_cast<int>(index);
    std::array<char, kNvmlNameBytes> name{};
    if (library_->name != nullptr &&
        library_->name(device, name.data(), kNvmlNameBytes) == kNvmlSuccess) {
      gpu.name = name.data();
    }
    if (const auto used = ask<NvmlUtilization>(library_->utilization, device)) {
      gpu.busy_fraction = used->gpu_percent / 100.0;
    }
    if (const auto memory = ask<NvmlMemory>(library_->memory, device)) {
      gpu.memory_bytes = static_cast<std::int64_t>(memory->total);
      gpu.memory_used_bytes = static_cast<std::int64_t>(memory->used);
    }
    if (const auto milliwatts = ask<unsigned>(library_->power, device)) {
      gpu.power_w = *milliwatts / 1000.0;
    }
    unsigned celsius = 0;
    if (library_->temperature != nullptr &&
        library_->temperature(device, kNvmlTemperatureOfGpu, &celsius) == kNvmlSuccess) {
      gpu.temperature_c = celsius;
    }
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

}  // namespace dsl::serving
