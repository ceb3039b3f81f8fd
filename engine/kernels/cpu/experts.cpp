// Routed experts: rows grouped by expert, every chosen expert's weights read once, two parallel
// regions per layer.
#include <vector>

#include "engine/kernels/cpu/cpu_ops.h"

namespace dsl::cpu {
namespace {

/// An expert that some row chose.
struct Group {
  std::int64_t expert = 0;  // local index
  int leaf = 0;             // local leaf
  std::int64_t first = 0;   // first entry
  std::int64_t num_rows = 0;
  std::int64_t first_cost = 0;  // cost of the groups before
  std::int64_t grain_cost = 0;  // cost of kInnerGrain features of gate and up
};

/// One (row, expert) pair, ordered by expert, then row.
struct Entry {
  std::int64_t row = 0;
  float weight = 0;
};

constexpr std::int64_t kInnerGrain = 16;
/// Reading a weight from memory takes about as long as multiplying it with this many rows.
constexpr std::int64_t kReadCost = 12;

struct Plan {
  std::vector<Group> groups;
  std::vector<Entry> entries;
  std::int64_t cost = 0;
};

int leaf_of(const LeafSplit& split, std::int64_t expert) {
  int leaf = 0;
  while (split.begin(leaf + 1) <= expert) ++leaf;
  return leaf;
}

Plan group_rows(const Routing& routing, std::span<const ExpertWeights> experts,
                const LeafSplit& split) {
  const std::int64_t num_experts = std::ssize(experts);
  const std::int64_t first_expert = std::int64_t{split.shard} * split.local_size();
  std::vector<std::int64_t> next(static_cast<std::size_t>(num_experts) + 1);
  const std::int64_t num_pairs = routing.rows * routing.num_experts_per_tok;
  const auto local = [&](std::int64_t pair) { return routing.expert_ids[pair] - first_expert; };
  for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
    const std::int64_t e = local(pair);
    if (e >= 0 && e < num_experts) ++next[static_cast<std::size_t>(e) + 1];
  }
  Plan plan;
  std::int64_t count = 0;
  for (std::int64_t e = 0; e < num_experts; ++e) {
    const std::int64_t num_rows = next[static_cast<std::size_t>(e) + 1];
    next[static_cast<std::size_t>(e)] = count;
    if (num_rows > 0) {
      const std::int64_t inner = experts[static_cast<std::size_t>(e)].gate_proj.out_features;
      const std::int64_t grain_cost = num_rows + kReadCost;
      plan.groups.push_back({e, leaf_of(split, e), count, num_rows, plan.cost, grain_cost});
      plan.cost += grain_cost * ((inner + kInnerGrain - 1) / kInnerGrain);
    }
    count += num_rows;
  }
  plan.entries.resize(static_cast<std::size_t>(count));
  for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
    const std::int64_t e = local(pair);
    if (e < 0 || e >= num_experts) continue;
    auto& slot = next[static_cast<std::size_t>(e)];
    plan.entries[static_cast<std::size_t>(slot++)] = {pair / routing.num_experts_per_tok,
                                                      routing.weights[pair]};
  }
  return plan;
}

/// First grain of a group whose cost begins at or after `cost`.
std::int64_t first_grain(const Group& group, std::int64_t cost) {
  if (cost <= group.first_cost) return 0;
  return (cost - group.first_cost + group.grain_cost - 1) / group.grain_cost;
}

}  // namespace

void CpuOps::routed_experts(const Matrix& x, const Routing& routing,
                            std::span<const ExpertWeights> experts, const LeafSplit& split,
                            const LeafSums& sums, MatrixView<float> out) {
  DSL_CHECK(split.local_size() == std::ssize(experts) && sums.num_leaves == split.num_leaves() &&
                sums.rows == x.rows && routing.rows == x.rows && out.rows == x.rows &&
                out.cols == sums.cols,
            "{} experts of a shard of {}, sums [{}, {}, {}], {} rows, routing of {}, out [{}, {}]",
            experts.size(), split.local_size(), sums.num_leaves, sums.rows, sums.cols, x.rows,
            routing.rows, out.rows, out.cols);
  const auto join = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = 0; row < sums.rows; ++row) {
      kernels_.join_tree(sums.data + row * sums.cols + first, sums.rows * sums.cols,
                         sums.num_leaves, last - first, out.row(row) + first);
    }
  };
  const Plan plan = group_rows(routing, experts, split);
  if (plan.groups.empty()) return join(0, sums.cols);
  const WeightView& sample = experts[static_cast<std::size_t>(plan.groups[0].expert)].gate_proj;
  const DType element = linear_element(kernels_, x.dtype, sample);
  const std::int64_t inner = sample.out_features;
  const auto num_entries = static_cast<std::int64_t>(plan.entries.size());

  const Workspace::Scope scope(workspaces_[0]);
  const DotRows rows = prepare(x, sample, nullptr, element);
  // Activations between up and down, [num_entries, inner] in the dtype of x.
  const std::int64_t inner_bytes = inner * static_cast<std::int64_t>(size_of(x.dtype));
  std::byte* hidden = workspaces_[0].allocate<std::byte>(num_entries * inner_bytes);
  const Matrix activated{hidden, x.dtype, num_entries, inner, inner};

  const auto gate_and_up = [&](int part, int parts, Workspace& workspace) {
    const std::int64_t first_cost = plan.cost * part / parts;
    const std::int64_t last_cost = plan.cost * (part + 1) / parts;
    for (const Group& group : plan.groups) {
      const std::int64_t first = std::min(inner, first_grain(group, first_cost) * kInnerGrain);
      const std::int64_t last = std::min(inner, first_grain(group, last_cost) * kInnerGrain);
      if (first >= last) continue;
      const ExpertWeights& expert = experts[static_cast<std::size_t>(group.expert)];
      const Workspace::Scope group_scope(workspace);
      DotRows tokens;
      tokens.rows = workspace.allocate<const void*>(group.num_rows);
      tokens.count = group.num_rows;
      for (std::int64_t r = 0; r < group.num_rows; ++r) {
        tokens.rows[r] = rows.rows[plan.entries[static_cast<std::size_t>(group.first + r)].row];
      }
      const std::int64_t width = last - first;
      float* gates = workspace.allocate<float>(group.num_rows * width);
      const Reduction gate_reduction(expert.gate_proj, element, nullptr);
      for_dot_blocks(kernels_, tokens, expert.gate_proj, gate_reduction, element, first, last,
                     workspace, [&](const DotBlock& block) {
                       for (std::int64_t r = 0; r < block.num_rows; ++r) {
                         std::copy_n(
                             block.row(r), block.num_cols,
                             gates + (block.first_row + r) * width + block.first_col - first);
                       }
                     });
      const Reduction up_reduction(expert.up_proj, element, nullptr);
      for_dot_blocks(kernels_, tokens, expert.up_proj, up_reduction, element, first, last,
                     workspace, [&](const DotBlock& block) {
                       for (std::int64_t r = 0; r < block.num_rows; ++r) {
                         const std::int64_t row = block.first_row + r;
                         kernels_.silu_mul(
                             gates + row * width + block.first_col - first, block.row(r),
                             DType::kF32, block.num_cols, x.dtype,
                             hidden + (group.first + row) * inner_bytes +
                                 block.first_col * static_cast<std::int64_t>(size_of(x.dtype)));
                       }
                     });
    }
  };
  const WeightView& down_sample =
      experts[static_cast<std::size_t>(plan.groups[0].expert)].down_proj;
  const DType down_element = linear_element(kernels_, x.dtype, down_sample);
  const auto down = [&](const DotRows& inputs, std::int64_t first, std::int64_t last,
                        Workspace& workspace) {
    for (const Group& group : plan.groups) {
      const WeightView& weight = experts[static_cast<std::size_t>(group.expert)].down_proj;
      const DotRows tokens{inputs.rows + group.first, group.num_rows, nullptr};
      const Reduction reduction(weight, down_element, nullptr);
      for_dot_blocks(
          kernels_, tokens, weight, reduction, down_element, first, last, workspace,
          [&](const DotBlock& block) {
            for (std::int64_t r = 0; r < block.num_rows; ++r) {
              const Entry& entry =
                  plan.entries[static_cast<std::size_t>(group.first + block.first_row + r)];
              kernels_.accumulate(block.row(r), entry.weight, block.num_cols,
                                  sums.leaf(group.leaf) + entry.row * sums.cols + block.first_col);
            }
          });
    }
    join(first, last);
  };
  if (num_entries * inner * x.cols < kParallelCost || pool().size() == 1) {
    gate_and_up(0, 1, workspaces_[0]);
    down(prepare(activated, down_sample, nullptr, down_element), 0, sums.cols, workspaces_[0]);
    return;
  }
  pool().run([&](int thread) {
    gate_and_up(thread, pool().size(), workspaces_[static_cast<std::size_t>(thread)]);
  });
  const DotRows down_rows = prepare(activated, down_sample, nullptr, down_element);
  pool().run([&](int thread) {
    const ThreadPool::Range range = ThreadPool::part(sums.cols, kInnerGrain, thread, pool().size());
    down(down_rows, range.first, range.last, workspaces_[static_cast<std::size_t>(thread)]);
  });
}

}  // namespace dsl::cpu
