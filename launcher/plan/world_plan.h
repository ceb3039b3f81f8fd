// Which rank runs on which node: tensor shards inside a node, pipeline stages across nodes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launcher/cluster/allocator.h"
#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// The ranks of one node: consecutive, whole stages.
struct NodePlan {
  std::string node;
  int first_rank = 0;
  int num_ranks = 0;

  bool operator==(const NodePlan&) const = default;
};

/// Rank r is shard r % tp of stage r / tp.
struct WorldPlan {
  int tp = 1;
  int pp = 1;
  std::vector<NodePlan> nodes;
};

/// Spreads pp stages over `nodes` in order, as evenly as possible, and never splits a stage.
/// kParallelism says with the arithmetic why a shape does not fit: more nodes than stages, or more
/// ranks on a node than it has GPUs.
Result<WorldPlan> plan_world(const std::vector<Node>& nodes, int tp, int pp);

/// The same as far as it can be told before there are nodes: kParallelism where Slurm may give more
/// nodes (-N) than there are stages, or shall make room for more tasks (-n) than there are ranks.
Status check_nodes_asked_for(const DeploymentSpec& spec);

/// "n1:0-1,n2:2-3" for a command line.
std::string to_text(const WorldPlan& plan);
/// Reads to_text(); tp and pp come from elsewhere. kInvalidArgument.
Result<std::vector<NodePlan>> parse_node_plans(std::string_view text);

/// "rank 3 (stage 1, shard 1)": how messages call a rank.
std::string describe_rank(int rank, int tp);

}  // namespace dsl::launcher
