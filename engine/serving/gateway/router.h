// Which engine gets a request: policies over engines and their outstanding work. No I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/serving/discovery/service_folder.h"

namespace dsl::serving {

enum class RoutingPolicy {
  kLeastWork,  // the engine with the fewest tokens still to compute
  kPrefix,     // equal first blocks of a prompt meet the same engine's cache, within bounds of load
  kRoundRobin,  // in turn
};

/// kConfig for a name that is none; empty is kLeastWork.
Result<RoutingPolicy> parse_routing_policy(std::string_view name);
std::string_view routing_policy_name(RoutingPolicy policy);

/// An engine at one address; the same engine after a repair is another one.
struct EngineKey {
  std::string id;
  std::string endpoint;
  auto operator<=>(const EngineKey&) const = default;
};

/// Hash of a prompt's first tokens: as far as prefixes are looked at for routing.
std::uint64_t prefix_hash(std::span<const std::int32_t> prompt_token_ids);

/// Thread-compatible.
class Router {
 public:
  void set_policy(RoutingPolicy policy) { policy_ = policy; }
  RoutingPolicy policy() const { return policy_; }

  /// The engines that there are now. New ones are out of rotation until they are found healthy.
  void set_engines(const std::vector<ServiceEntry>& entries);
  /// The outcome of one look at an engine's health. One success brings it into rotation, two
  /// failures in a row take it out; the number of failures in a row.
  int note_probe(const EngineKey& engine, bool is_healthy);
  /// A stream of it broke: out of rotation until the next good probe.
  void note_broken_stream(const EngineKey& engine);

  /// The engine for a prompt, or nothing when none is in rotation besides the `excluded`.
  std::optional<EngineKey> choose(std::uint64_t prefix_hash, const std::set<EngineKey>& excluded);

  /// Tokens that an engine has still to compute; negative when they are done.
  void add_work(const EngineKey& engine, std::int64_t num_tokens);

  bool is_in_rotation(const EngineKey& engine) const;
  std::size_t num_in_rotation() const;
  std::size_t num_engines() const { return engines_.size(); }
  std::int64_t outstanding_tokens(const EngineKey& engine) const;

 private:
  struct State {
    bool is_draining = false;
    bool is_healthy = false;
    int num_failures = 0;  // in a row
    std::int64_t outstanding_tokens = 0;

    bool takes_work() const { return is_healthy && !is_draining; }
  };
  using Engines = std::map<EngineKey, State>;
  using Candidates = std::vector<Engines::const_iterator>;

  static Engines::const_iterator least_loaded(const Candidates& candidates);
  static Engines::const_iterator nearest(const Candidates& candidates, std::uint64_t prefix_hash);

  RoutingPolicy policy_ = RoutingPolicy::kLeastWork;
  Engines engines_;
  std::uint64_t turn_ = 0;
};

}  // namespace dsl::serving
