#include "engine/serving/gateway/preprocess_services.h"

#include <algorithm>

namespace dsl::serving {
namespace {

constexpr auto kRest = std::chrono::seconds(2);

}  // namespace

void PreprocessServices::set_services(const std::vector<ServiceEntry>& entries) {
  std::vector<Service> services;
  for (const ServiceEntry& entry : entries) {
    if (entry.role != ServiceRole::kPreprocess || entry.is_draining) continue;
    const auto known = std::find_if(services_.begin(), services_.end(), [&](const Service& other) {
      return other.endpoint == entry.endpoint;
    });
    services.push_back(known == services_.end() ? Service{entry.endpoint} : *known);
  }
  services_ = std::move(services);
}

std::optional<std::string> PreprocessServices::next(Clock::time_point now) {
  for (std::size_t i = 0; i < services_.size(); ++i) {
    const Service& service = services_[turn_++ % services_.size()];
    if (service.resting_until <= now) return service.endpoint;
  }
  return std::nullopt;
}

void PreprocessServices::note_failure(const std::string& endpoint, Clock::time_point now) {
  for (Service& service : services_) {
    if (service.endpoint == endpoint) service.resting_until = now + kRest;
  }
}

}  // namespace dsl::serving
