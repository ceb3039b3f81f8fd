#include "engine/serving/gateway/router.h"

#include <algorithm>

namespace dsl::serving {
namespace {

/// The first four blocks of the engines' prefix cache.
constexpr std::size_t kPrefixTokens = 64;
constexpr int kFailuresUntilOut = 2;
/// An engine that a prefix belongs to may have this many times the mean load before others help.
constexpr double kLoadBound = 1.25;
/// Loads below it are alike: differences of a few requests are no reason to lose a cached prefix.
constexpr std::int64_t kLoadSlackTokens = 2048;

/// splitmix64's finaliser: every bit of the input reaches every bit of the output.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0;
  for (const char c : text)
    hash = mix(hash + 0x9e3779b97f4a7c15ULL + static_cast<unsigned char>(c));
  return hash;
}

}  // namespace

Result<RoutingPolicy> parse_routing_policy(std::string_view name) {
  if (name.empty() || name == "least-work") return RoutingPolicy::kLeastWork;
  if (name == "prefix") return RoutingPolicy::kPrefix;
  if (name == "round-robin") return RoutingPolicy::kRoundRobin;
  return fail(ErrorCode::kConfig, "use least-work, prefix or round-robin",
              "the routing policy {:.40} is unknown", name);
}

std::string_view routing_policy_name(RoutingPolicy policy) {
  switch (policy) {
    case RoutingPolicy::kPrefix:
      return "prefix";
    case RoutingPolicy::kRoundRobin:
      return "round-robin";
    default:
      return "least-work";
  }
}

std::uint64_t prefix_hash(std::span<const std::int32_t> prompt_token_ids) {
  std::uint64_t hash = 0;
  for (const std::int32_t id :
       prompt_token_ids.first(std::min(prompt_token_ids.size(), kPrefixTokens))) {
    hash = mix(hash + 0x9e3779b97f4a7c15ULL + static_cast<std::uint32_t>(id));
  }
  return hash;
}

void Router::set_engines(const std::vector<ServiceEntry>& entries) {
  Engines engines;
  for (const ServiceEntry& entry : entries) {
    if (entry.role != ServiceRole::kEngine) continue;
    EngineKey key{entry.id, entry.endpoint};
    const auto known = engines_.find(key);
    State state = known == engines_.end() ? State{} : known->second;
    state.is_draining = entry.is_draining;
    engines.emplace(std::move(key), state);
  }
  engines_ = std::move(engines);
}

int Router::note_probe(const EngineKey& engine, bool is_healthy) {
  const auto found = engines_.find(engine);
  if (found == engines_.end()) return 0;
  State& state = found->second;
  state.num_failures = is_healthy ? 0 : state.num_failures + 1;
  if (is_healthy) state.is_healthy = true;
  if (state.num_failures >= kFailuresUntilOut) state.is_healthy = false;
  return state.num_failures;
}

void Router::note_broken_stream(const EngineKey& engine) {
  const auto found = engines_.find(engine);
  if (found != engines_.end()) found->second.is_healthy = false;
}

std::optional<EngineKey> Router::choose(std::uint64_t prefix, const std::set<EngineKey>& excluded) {
  Candidates candidates;
  for (auto engine = engines_.cbegin(); engine != engines_.cend(); ++engine) {
    if (engine->second.takes_work() && !excluded.contains(engine->first))
      candidates.push_back(engine);
  }
  if (candidates.empty()) return std::nullopt;
  switch (policy_) {
    case RoutingPolicy::kRoundRobin:
      return candidates[turn_++ % candidates.size()]->first;
    case RoutingPolicy::kPrefix:
      return nearest(candidates, prefix)->first;
    default:
      // Equal loads take turns, so that an idle deployment uses all of its engines.
      std::rotate(candidates.begin(),
                  candidates.begin() + static_cast<std::ptrdiff_t>(turn_++ % candidates.size()),
                  candidates.end());
      return least_loaded(candidates)->first;
  }
}

Router::Engines::const_iterator Router::least_loaded(const Candidates& candidates) {
  return *std::min_element(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
    return a->second.outstanding_tokens < b->second.outstanding_tokens;
  });
}

/// Rendezvous hashing: an engine that comes or goes moves only the prefixes that it gets or had.
Router::Engines::const_iterator Router::nearest(const Candidates& candidates,
                                                std::uint64_t prefix) {
  std::int64_t total = 0;
  for (const auto& candidate : candidates) total += candidate->second.outstanding_tokens;
  const double mean = static_cast<double>(total) / static_cast<double>(candidates.size());
  const double bound = kLoadBound * mean + static_cast<double>(kLoadSlackTokens);
  auto best = candidates.end();
  std::uint64_t best_rank = 0;
  for (auto candidate = candidates.begin(); candidate != candidates.end(); ++candidate) {
    if (static_cast<double>((*candidate)->second.outstanding_tokens) > bound) continue;
    // By name: an engine keeps its prefixes when it comes back at another address.
    const std::uint64_t rank = mix(prefix ^ hash_of((*candidate)->first.id));
    if (best != candidates.end() && rank <= best_rank) continue;
    best = candidate;
    best_rank = rank;
  }
  return best == candidates.end() ? least_loaded(candidates) : *best;
}

void Router::add_work(const EngineKey& engine, std::int64_t num_tokens) {
  const auto found = engines_.find(engine);
  if (found == engines_.end()) return;
  std::int64_t& outstanding = found->second.outstanding_tokens;
  outstanding = std::max<std::int64_t>(0, outstanding + num_tokens);
}

bool Router::is_in_rotation(const EngineKey& engine) const {
  const auto found = engines_.find(engine);
  return found != engines_.end() && found->second.takes_work();
}

std::size_t Router::num_in_rotation() const {
  return static_cast<std::size_t>(
      std::count_if(engines_.begin(), engines_.end(),
                    [](const auto& engine) { return engine.second.takes_work(); }));
}

std::int64_t Router::outstanding_tokens(const EngineKey& engine) const {
  const auto found = engines_.find(engine);
  return found == engines_.end() ? 0 : found->second.outstanding_tokens;
}

}  // namespace dsl::serving
