// Who is let in: API keys, their rates and streams. No I/O; time is given.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/serving/gateway/api_keys.h"

namespace dsl::serving {

using AdmissionClock = std::chrono::steady_clock;

/// Holds one minute's worth; may go into debt, since what an answer costs is known at its end.
class TokenBucket {
 public:
  /// `per_minute` 0: no limit.
  TokenBucket(double per_minute, AdmissionClock::time_point now);

  /// Keeps what was used under another limit.
  void set_rate(double per_minute, AdmissionClock::time_point now);
  void take(double amount, AdmissionClock::time_point now);
  /// Time until `amount` is there; zero when it is.
  std::chrono::duration<double> wait_for(double amount, AdmissionClock::time_point now) const;

 private:
  double capacity() const;
  double level(AdmissionClock::time_point now) const;

  double per_minute_;
  double level_;
  AdmissionClock::time_point as_of_;
};

/// One key while the gateway runs. Its counts outlive changes of the keys file.
struct KeyState {
  KeyState(const ApiKey& given, AdmissionClock::time_point now);

  ApiKey key;
  bool is_revoked = false;
  TokenBucket requests;
  TokenBucket tokens;
  std::int64_t num_streams = 0;  // open now
  std::uint64_t num_requests = 0;
  std::uint64_t num_prompt_tokens = 0;
  std::uint64_t num_completion_tokens = 0;
};

/// Why a request is not let in.
struct Refusal {
  Error error;
  std::int64_t retry_after_s = 0;
};

/// Thread-compatible.
class Admission {
 public:
  /// Puts these keys in force; those left out are revoked.
  void set_keys(const std::vector<ApiKey>& keys, AdmissionClock::time_point now);

  /// The key that a bearer token is, or null. Takes the same time for every wrong token.
  std::shared_ptr<KeyState> find(std::string_view token) const;
  /// Counts a request of this key, or says why it may not be served: kOverloaded (rates, streams).
  tl::expected<void, Refusal> admit(KeyState& state, AdmissionClock::time_point now);

  const std::map<std::string, std::shared_ptr<KeyState>>& keys() const { return keys_; }

 private:
  std::map<std::string, std::shared_ptr<KeyState>> keys_;  // by name; revoked ones too
};

}  // namespace dsl::serving
