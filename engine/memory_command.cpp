#include "engine/memory_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/command_end.h"
#include "engine/device_budget.h"
#include "engine/kernels/cuda/scratch_bounds.h"
#include "engine/model/model_costs.h"
#include "engine/parallel/parallel_plan.h"
#include "engine/pipeline_hops.h"

namespace dsl {
namespace {

using engine::binary_size;
using engine::DeviceBudget;
using model::MemoryPlan;
using model::MemoryPlanner;
using nlohmann::ordered_json;
using parallel::ParallelPlan;

constexpr std::int64_t kLargeDevice = std::int64_t{80} << 30;

struct PlanArguments {
  EngineOptions engine;
  std::string dtype = "bf16";
  std::string hops = "pinned";
  std::int64_t device_bytes = 0;  // 0: not said
  bool is_json = false;
};

model::MemoryPlanOptions options_of(const PlanArguments& arguments,
                                    const checkpoint::ModelConfig& config) {
  model::MemoryPlanOptions options = engine::plan_options(arguments.engine, config);
  if (arguments.hops == "device") options.num_hop_steps = engine::kHopSlots;
  return options;
}

/// A device on paper; a large one where its size is not said.
DeviceBudget budget_of(const PlanArguments& arguments, const checkpoint::ModelConfig& config,
                       int tp) {
  const std::int64_t bytes = arguments.device_bytes > 0 ? arguments.device_bytes : kLargeDevice;
  const std::int64_t free = std::max<std::int64_t>(bytes - engine::kContextBytes, 0);
  return {"such a device", free, bytes, 1, engine::group_bytes(tp, arguments.engine, config)};
}

/// Tokens of the cache: as asked, or what every rank's device has room for, or one whole context.
Result<std::int64_t> tokens_of(const PlanArguments& arguments,
                               const checkpoint::Checkpoint& weights,
                               const checkpoint::ModelConfig& config,
                               const std::vector<MemoryPlanner>& planners) {
  const EngineOptions& options = arguments.engine;
  if (arguments.device_bytes == 0) {
    return options.kv_tokens > 0 ? options.kv_tokens : config.max_position_embeddings;
  }
  const auto other_split = [&](std::int64_t kv_tokens) {
    return engine::fewest_ranks(
        weights, config, options_of(arguments, config), kv_tokens,
        [&](int tp) { return budget_of(arguments, config, tp).available(); }, cuda::backend_bytes);
  };
  const std::int64_t most = engine::most_useful_tokens(options, config);
  std::int64_t tokens = most;
  for (std::size_t rank = 0; rank < planners.size(); ++rank) {
    auto fits = engine::fit_cache(planners[rank], budget_of(arguments, config, options.tp),
                                  options.kv_tokens, most, other_split);
    if (!fits) {
      return tl::unexpected<Error>(
          std::move(fits).error().within(fmt::format("the plan of rank {}'s memory", rank)));
    }
    tokens = std::min(tokens, *fits);
  }
  return tokens;
}

void print_table(const ParallelPlan& plan, const std::vector<MemoryPlan>& ranks,
                 std::int64_t kv_tokens, std::int64_t reserve) {
  fmt::print("{:>4} {:>5} {:>5} {:>9} {:>13} {:>13} {:>13} {:>13}\n", "rank", "stage", "shard",
             "layers", "weights", "cache", "workspace", "total");
  std::int64_t largest = 0;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const int rank = static_cast<int>(i);
    const auto [first, count] = plan.stage(plan.stage_of(rank));
    const MemoryPlan& memory = ranks[i];
    fmt::print("{:>4} {:>5} {:>5} {:>9} {:>13} {:>13} {:>13} {:>13}\n", rank, plan.stage_of(rank),
               plan.shard_of(rank), fmt::format("{}-{}", first, first + count - 1),
               binary_size(memory.weights), binary_size(memory.cache),
               binary_size(memory.workspace()), binary_size(memory.total()));
    largest = std::max(largest, memory.total());
  }
  fmt::print(
      "cache of {} tokens; the largest rank needs {}: with CUDA's own {} and a reserve of "
      "{}, a device of {}\n",
      kv_tokens, binary_size(largest), binary_size(engine::kContextBytes), binary_size(reserve),
      binary_size(largest + engine::kContextBytes + reserve));
}

void print_json(const ParallelPlan& plan, const std::vector<MemoryPlan>& ranks,
                std::int64_t kv_tokens, std::int64_t reserve) {
  ordered_json rows = ordered_json::array();
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const int rank = static_cast<int>(i);
    const auto [first, count] = plan.stage(plan.stage_of(rank));
    const MemoryPlan& memory = ranks[i];
    rows.push_back({{"rank", rank},
                    {"stage", plan.stage_of(rank)},
                    {"shard", plan.shard_of(rank)},
                    {"first_layer", first},
                    {"num_layers", count},
                    {"weights", memory.weights},
                    {"cache", memory.cache},
                    {"activations", memory.activations},
                    {"rope_tables", memory.rope_tables},
                    {"logits", memory.logits},
                    {"hops", memory.hops},
                    {"kernels", memory.ops},
                    {"total", memory.total()}});
  }
  fmt::print("{}\n", ordered_json{{"kv_tokens", kv_tokens},
                                  {"context", engine::kContextBytes},
                                  {"reserve", reserve},
                                  {"ranks", std::move(rows)}}
                         .dump(2));
}

Status plan_command(PlanArguments& arguments) {
  EngineOptions& options = arguments.engine;
  options.compute_dtype = arguments.dtype == "f32" ? DType::kF32 : DType::kBF16;
  DSL_ASSIGN(const checkpoint::ModelConfig config,
             checkpoint::load_model_config(options.model_dir));
  DSL_ASSIGN(const checkpoint::Checkpoint weights, checkpoint::Checkpoint::open(options.model_dir));
  DSL_ASSIGN(const ParallelPlan plan,
             ParallelPlan::make(options.tp, options.pp, model::split_dimensions(config),
                                model::model_costs(weights, config)));
  std::vector<MemoryPlanner> planners;
  for (int rank = 0; rank < plan.world_size(); ++rank) {
    DSL_ASSIGN(MemoryPlanner planner,
               MemoryPlanner::make(weights, config, plan, rank, options_of(arguments, config),
                                   cuda::backend_bytes));
    planners.push_back(std::move(planner));
  }
  DSL_ASSIGN(const std::int64_t kv_tokens, tokens_of(arguments, weights, config, planners));
  std::vector<MemoryPlan> ranks;
  for (const MemoryPlanner& planner : planners) {
    ranks.push_back(planner.with_blocks(engine::blocks_of(kv_tokens)));
  }
  const std::int64_t reserve = budget_of(arguments, config, options.tp).reserve();
  (arguments.is_json ? print_json : print_table)(plan, ranks, kv_tokens, reserve);
  return {};
}

}  // namespace

void add_memory_plan_command(CLI::App& weights, int& exit_code) {
  CLI::App* command = weights.add_subcommand(
      "plan", "Says what each rank's GPU would hold, without a GPU and without reading weights");
  const auto arguments = std::make_shared<PlanArguments>();
  EngineOptions& engine = arguments->engine;
  command->add_option("MODEL", engine.model_dir, "directory of the checkpoint")->required();
  command->add_option("--tp", engine.tp, "tensor shards per stage")->check(CLI::Range(1, 8));
  command->add_option("--pp", engine.pp, "pipeline stages")->check(CLI::Range(1, 1024));
  command->add_option("--dtype", arguments->dtype, "of activations and cache")
      ->check(CLI::IsMember({"bf16", "f32"}));
  command->add_flag("--fp8-activations", engine.fp8_activations,
                    "inputs of linears with FP8 weights are quantised");
  command->add_flag("--fp8-cache", engine.fp8_cache, "latents are cached in FP8");
  command
      ->add_option("--kv-tokens", engine.kv_tokens,
                   "tokens the cache holds; 0: what fits --device-memory, or one whole context")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--max-batch-tokens", engine.max_batch_tokens, "tokens of one step")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--hops", arguments->hops,
                   "where rows between stages lie: \"device\" if the UCX of all ranks carries CUDA "
                   "memory")
      ->check(CLI::IsMember({"pinned", "device"}))
      ->capture_default_str();
  command
      ->add_option("--device-memory", arguments->device_bytes,
                   "of each GPU, e.g. 80GiB: says whether the model fits")
      ->transform(CLI::AsSizeValue(true));
  command->add_flag("--json", arguments->is_json, "print one JSON object, and errors as JSON");
  command->footer(
      "Examples:\n"
      "  dslaunch weights plan models/demo --tp 2 --pp 2\n"
      "  dslaunch weights plan models/DeepSeek-V3 --tp 8 --pp 2 --device-memory 141GB --json\n");
  command->callback(
      [=, &exit_code] { exit_code = end_with(plan_command(*arguments), arguments->is_json); });
}

}  // namespace dsl
