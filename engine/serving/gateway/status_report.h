// What the status page shows of a deployment, collected from a gateway's parts. No I/O.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "engine/serving/discovery/service_folder.h"
#include "engine/serving/gateway/engine_figures.h"
#include "engine/serving/gateway/latency_window.h"
#include "engine/serving/gateway/recent_errors.h"
#include "engine/serving/gateway/router.h"
#include "engine/serving/gateway/status_history.h"

namespace dsl::serving {

/// Of late, of one hop.
struct HopPace {
  std::optional<double> sent_bytes_per_s;
  std::optional<double> waiting;  // part of the time that the rank stands still for the peer
};

struct GatewayIdentity {
  std::string model_name;
  std::string version;
  std::int64_t pid = 0;
  std::int64_t started_unix_s = 0;
};

/// Memory is bounded: by the number of services, kCapacity samples and kCapacity errors.
/// Thread-compatible.
class StatusReport {
 public:
  using Clock = std::chrono::steady_clock;

  explicit StatusReport(GatewayIdentity identity);

  void set_services(const ServiceList& services);
  /// An engine's answer to the question of this second.
  void note_figures(const EngineKey& engine, Result<EngineFigures> figures, Clock::time_point now);
  /// The least context among the engines that have told theirs; the largest number without any.
  std::int64_t least_context_tokens() const;
  /// Closes a second.
  void add_sample(const RequestLatencies& latencies, std::int64_t now_unix_s);

  RecentErrors& errors() { return errors_; }
  const ServiceList& services() const { return services_; }

  /// JSON. `since`: the first sample wanted; samples that are forgotten or still to come are left
  /// out.
  std::string to_json(const Router& router, bool is_draining, std::uint64_t since) const;

 private:
  struct Pace {  // per second
    double prompt_tokens = 0;
    double generated_tokens = 0;
    double prefix_queries = 0;
    double prefix_hits = 0;
  };
  struct EngineState {
    std::optional<EngineFigures> figures;  // of the last good answer
    std::optional<Error> problem;          // of the last answer
    Clock::time_point as_of;               // of `figures`
    Pace pace;
    std::map<HopKey, HopPace> hops;
  };

  const GatewayIdentity identity_;
  ServiceList services_;
  std::map<EngineKey, EngineState> engines_;
  StatusHistory history_;
  RecentErrors errors_;
};

}  // namespace dsl::serving
