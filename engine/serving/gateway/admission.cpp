#include "engine/serving/gateway/admission.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dsl::serving {
namespace {

double rate_of(const std::optional<double>& per_minute) { return per_minute.value_or(0); }

Refusal refusal(std::string message, std::chrono::duration<double> wait) {
  const double seconds = std::min(std::ceil(wait.count()), 3600.0);
  return {{ErrorCode::kOverloaded, std::move(message), "try again after the time in Retry-After"},
          std::max<std::int64_t>(1, static_cast<std::int64_t>(seconds))};
}

}  // namespace

/// A rate below one a minute must still let one through.
double TokenBucket::capacity() const { return std::max(per_minute_, 1.0); }

TokenBucket::TokenBucket(double per_minute, AdmissionClock::time_point now)
    : per_minute_(per_minute), level_(capacity()), as_of_(now) {}

double TokenBucket::level(AdmissionClock::time_point now) const {
  const std::chrono::duration<double> passed = now - as_of_;
  return std::min(capacity(), level_ + passed.count() * per_minute_ / 60);
}

void TokenBucket::set_rate(double per_minute, AdmissionClock::time_point now) {
  if (per_minute == per_minute_) return;
  const double used = capacity() - level(now);
  per_minute_ = per_minute;
  level_ = capacity() - used;
  as_of_ = now;
}

void TokenBucket::take(double amount, AdmissionClock::time_point now) {
  if (per_minute_ == 0) return;
  level_ = level(now) - amount;
  as_of_ = now;
}

std::chrono::duration<double> TokenBucket::wait_for(double amount,
                                                    AdmissionClock::time_point now) const {
  if (per_minute_ == 0) return {};
  const double missing = amount - level(now);
  return std::chrono::duration<double>(std::max(0.0, missing * 60 / per_minute_));
}

KeyState::KeyState(const ApiKey& given, AdmissionClock::time_point now)
    : key(given),
      requests(rate_of(given.requests_per_minute), now),
      tokens(rate_of(given.tokens_per_minute), now) {}

void Admission::set_keys(const std::vector<ApiKey>& keys, AdmissionClock::time_point now) {
  for (const auto& [name, state] : keys_) state->is_revoked = true;
  for (const ApiKey& key : keys) {
    std::shared_ptr<KeyState>& state = keys_[key.name];
    if (!state) state = std::make_shared<KeyState>(key, now);
    state->key = key;
    state->is_revoked = false;
    state->requests.set_rate(rate_of(key.requests_per_minute), now);
    state->tokens.set_rate(rate_of(key.tokens_per_minute), now);
  }
}

std::shared_ptr<KeyState> Admission::find(std::string_view token) const {
  const auto digest = sha256(std::as_bytes(std::span(token)));
  std::shared_ptr<KeyState> found;
  for (const auto& [name, state] : keys_) {
    const bool is_it = digest && digests_equal(*digest, state->key.sha256);
    if (is_it && !state->is_revoked && !token.empty()) found = state;
  }
  return found;
}

tl::expected<void, Refusal> Admission::admit(KeyState& state, AdmissionClock::time_point now) {
  const ApiKey& key = state.key;
  if (key.max_streams && state.num_streams >= *key.max_streams) {
    return tl::unexpected(refusal(fmt::format("the key {} already has {} requests open, as many "
                                              "as it may",
                                              key.name, state.num_streams),
                                  std::chrono::seconds(1)));
  }
  const auto request_wait = state.requests.wait_for(1, now);
  if (request_wait.count() > 0) {
    return tl::unexpected(refusal(fmt::format("the key {} may send {} requests a minute", key.name,
                                              rate_of(key.requests_per_minute)),
                                  request_wait));
  }
  const auto token_wait = state.tokens.wait_for(1, now);
  if (token_wait.count() > 0) {
    return tl::unexpected(refusal(fmt::format("the key {} may use {} tokens a minute", key.name,
                                              rate_of(key.tokens_per_minute)),
                                  token_wait));
  }
  state.requests.take(1, now);
  ++state.num_requests;
  return {};
}

}  // namespace dsl::serving
