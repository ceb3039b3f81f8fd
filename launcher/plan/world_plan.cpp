#include "launcher/plan/world_plan.h"

#include <charconv>

#include "slurm/job_spec.h"

namespace dsl::launcher {
namespace {

tl::unexpected<Error> malformed(std::string_view text) {
  return fail(ErrorCode::kInvalidArgument, "expected NODE:FIRST-LAST[,…], e.g. n1:0-1,n2:2-3",
              "malformed placement \"{}\"", text);
}

Result<int> parse_rank(std::string_view digits, std::string_view text) {
  int value = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (problem != std::errc() || end != digits.data() + digits.size() || value < 0) {
    return malformed(text);
  }
  return value;
}

tl::unexpected<Error> too_many_nodes(int num_nodes, int tp, int pp) {
  return fail(ErrorCode::kParallelism,
              fmt::format("ask for {} node{} (-N), or split into at least {} stages (--pp)", pp,
                          pp == 1 ? "" : "s", num_nodes),
              "{} nodes cannot share {} stage{}: tp {} x pp {} = {} ranks, and the {} shards of a "
              "stage stay on one node",
              num_nodes, pp, pp == 1 ? "" : "s", tp, pp, tp * pp, tp);
}

}  // namespace

Status check_nodes_asked_for(const DeploymentSpec& spec) {
  const SlurmOptions& asked = spec.slurm;
  if (asked.nodes) {
    const auto nodes = slurm::parse_node_count(*asked.nodes);
    if (!nodes) return tl::unexpected<Error>(Error(nodes.error()).within("--nodes"));
    const auto most = static_cast<int>(nodes->max);
    if (most > spec.pp) return too_many_nodes(most, spec.tp, spec.pp);
  }
  const int num_ranks = spec.tp * spec.pp;
  if (asked.ntasks.value_or(0) <= num_ranks) return {};
  return fail(ErrorCode::kParallelism,
              fmt::format("ask for {} tasks (-n) or less, or leave them out: one for each node "
                          "starts its ranks",
                          num_ranks),
              "{} tasks are more than tp {} x pp {} = {} ranks", *asked.ntasks, spec.tp, spec.pp,
              num_ranks);
}

Result<WorldPlan> plan_world(const std::vector<Node>& nodes, int tp, int pp) {
  const int num_nodes = static_cast<int>(nodes.size());
  if (num_nodes < 1) {
    return fail(ErrorCode::kParallelism, "ask for at least one node", "there are no nodes");
  }
  if (pp < num_nodes) return too_many_nodes(num_nodes, tp, pp);
  WorldPlan plan{tp, pp, {}};
  for (int i = 0; i < num_nodes; ++i) {
    const int first_stage = pp * i / num_nodes;
    const int num_stages = pp * (i + 1) / num_nodes - first_stage;
    const Node& node = nodes[static_cast<std::size_t>(i)];
    const int num_ranks = num_stages * tp;
    if (node.num_gpus > 0 && num_ranks > node.num_gpus) {
      return fail(ErrorCode::kParallelism,
                  "use more nodes (-N), more GPUs per node, or fewer ranks",
                  "node {} would hold {} stages x tp {} = {} ranks, but has {} GPUs", node.name,
                  num_stages, tp, num_ranks, node.num_gpus);
    }
    plan.nodes.push_back({node.name, first_stage * tp, num_ranks});
  }
  return plan;
}

std::string to_text(const WorldPlan& plan) {
  std::string text;
  for (const NodePlan& node : plan.nodes) {
    if (!text.empty()) text += ',';
    text +=
        fmt::format("{}:{}-{}", node.node, node.first_rank, node.first_rank + node.num_ranks - 1);
  }
  return text;
}

Result<std::vector<NodePlan>> parse_node_plans(std::string_view text) {
  std::vector<NodePlan> plans;
  std::string_view rest = text;
  while (true) {
    const std::size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    const std::size_t colon = part.find(':');
    const std::size_t dash = colon == std::string_view::npos ? colon : part.find('-', colon);
    if (dash == std::string_view::npos || colon == 0) return malformed(text);
    DSL_ASSIGN(const int first, parse_rank(part.substr(colon + 1, dash - colon - 1), text));
    DSL_ASSIGN(const int last, parse_rank(part.substr(dash + 1), text));
    if (last < first) return malformed(text);
    plans.push_back({std::string(part.substr(0, colon)), first, last - first + 1});
    if (comma == std::string_view::npos) return plans;
    rest = rest.substr(comma + 1);
  }
}

std::string describe_rank(int rank, int tp) {
  return fmt::format("rank {} (stage {}, shard {})", rank, rank / tp, rank % tp);
}

}  // namespace dsl::launcher
