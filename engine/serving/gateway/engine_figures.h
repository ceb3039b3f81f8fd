// What an engine tells of itself through /v1/info and /metrics, as far as the status page shows it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "transport/base/error.h"

namespace dsl::serving {

/// What a rank told rank 0 of itself.
struct RankFigures {
  bool is_healthy = false;
  std::string host;
  double age_s = 0;  // since it told
};

/// A hop's ranks and what it is for.
struct HopKey {
  int rank = 0;
  int peer = 0;
  std::string purpose;
  auto operator<=>(const HopKey&) const = default;
};

/// Totals since the engine's start, as of the rank's last telling.
struct HopFigures {
  double sent_bytes = 0;
  double wait_s = 0;
};

struct EngineLink {
  std::string transport;
  std::string device;
};

struct EngineFigures {
  std::string dtype;
  std::string kernels;
  std::int64_t num_running = 0;
  std::int64_t num_waiting = 0;
  std::int64_t max_waiting = 0;
  std::int64_t context_tokens = 0;  // what one request may have of prompt and answer
  std::int64_t kv_blocks_used = 0;
  std::int64_t kv_blocks_total = 0;
  bool is_draining = false;
  std::map<std::pair<int, int>, EngineLink> links;  // by rank and peer

  // Totals since the engine's start.
  double num_prompt_tokens = 0;     // of requests that have ended
  double num_generated_tokens = 0;  // of all requests
  double num_prefix_queries = 0;
  double num_prefix_hits = 0;
  double num_preemptions = 0;
  std::optional<double> decode_limit_fraction;
  std::map<int, RankFigures> ranks;
  std::map<HopKey, HopFigures> hops;
};

/// kProtocol when `info` is not the answer of /v1/info. Metrics that are missing stay 0.
Result<EngineFigures> parse_engine_figures(std::string_view info, std::string_view metrics);

}  // namespace dsl::serving
