#include "engine/serving/engine_port/nvml_library.h"

namespace dsl::serving {

std::unique_ptr<NvmlLibrary> NvmlLibrary::open(const std::string& name) {
  void* handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return nullptr;
  std::unique_ptr<NvmlLibrary> library(new NvmlLibrary(handle));
  auto* const init = library->find<int()>("nvmlInit_v2");
  if (init == nullptr || library->shut_down_ == nullptr || library->count == nullptr ||
      library->device == nullptr || init() != kNvmlSuccess) {
    return nullptr;
  }
  library->is_initialised_ = true;
  return library;
}

NvmlLibrary::~NvmlLibrary() {
  if (is_initialised_) shut_down_();
  ::dlclose(handle_);
}

}  // namespace dsl::serving
