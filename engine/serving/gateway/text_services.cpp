#include "engine/serving/gateway/text_services.h"

#include <algorithm>

namespace dsl::serving {
namespace {

/// After the first failure; each further one in a row doubles it. A service that hangs costs its
/// requests the whole time-out, so it must not be asked often.
constexpr auto kFirstRest = std::chrono::seconds(2);
constexpr int kMaxDoublings = 4;

}  // namespace

void TextServices::set_services(const std::vector<ServiceEntry>& entries) {
  std::vector<Service> services;
  for (const ServiceEntry& entry : entries) {
    if (entry.role != role_ || entry.is_draining) continue;
    const auto known = std::find_if(services_.begin(), services_.end(), [&](const Service& other) {
      return other.endpoint == entry.endpoint;
    });
    services.push_back(known == services_.end() ? Service{entry.endpoint} : *known);
  }
  services_ = std::move(services);
}

std::optional<std::string> TextServices::next(Clock::time_point now) {
  for (std::size_t i = 0; i < services_.size(); ++i) {
    const Service& service = services_[turn_++ % services_.size()];
    if (service.resting_until <= now) return service.endpoint;
  }
  return std::nullopt;
}

bool TextServices::is_usable(const std::string& endpoint, Clock::time_point now) const {
  return std::any_of(services_.begin(), services_.end(), [&](const Service& service) {
    return service.endpoint == endpoint && service.resting_until <= now;
  });
}

void TextServices::note_failure(const std::string& endpoint, Clock::time_point now) {
  for (Service& service : services_) {
    if (service.endpoint != endpoint) continue;
    service.resting_until = now + kFirstRest * (1 << std::min(service.num_failures, kMaxDoublings));
    ++service.num_failures;
  }
}

void TextServices::note_success(const std::string& endpoint) {
  for (Service& service : services_) {
    if (service.endpoint == endpoint) service.num_failures = 0;
  }
}

}  // namespace dsl::serving
