#include "engine/serving/engine_port/xid_events.h"

namespace dsl::serving {
namespace {

/// A device that reports without end does not keep its reader.
constexpr int kMaxEventsAtOnce = 256;

}  // namespace

XidEvents::XidEvents(const NvmlLibrary& library) : library_(library) {
  unsigned num_gpus = 0;
  if (library.create_events == nullptr || library.free_events == nullptr ||
      library.register_events == nullptr || library.wait_event == nullptr ||
      library.count(&num_gpus) != kNvmlSuccess || library.create_events(&events_) != kNvmlSuccess) {
    events_ = nullptr;
    return;
  }
  for (unsigned index = 0; index < num_gpus; ++index) {
    NvmlDevice device = nullptr;
    if (library.device(index, &device) != kNvmlSuccess) continue;
    if (library.register_events(device, kNvmlXidEvent, events_) == kNvmlSuccess) heard_[device];
  }
}

XidEvents::~XidEvents() {
  if (events_ != nullptr) library_.free_events(events_);
}

void XidEvents::poll() {
  if (heard_.empty()) return;
  for (int i = 0; i < kMaxEventsAtOnce; ++i) {
    NvmlEvent event;
    if (library_.wait_event(events_, &event, 0) != kNvmlSuccess) return;
    const auto found = heard_.find(event.device);
    if (event.type != kNvmlXidEvent || found == heard_.end()) continue;
    ++found->second.count;
    found->second.last = static_cast<int>(event.data);
  }
}

}  // namespace dsl::serving
