#include "engine/engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/device_budget.h"
#include "engine/engine_agreement.h"
#include "engine/engine_follower.h"
#include "engine/engine_leader.h"
#include "engine/engine_rank.h"
#include "engine/kernels/dispatch.h"
#include "engine/model/latent_caches.h"
#include "engine/model/model_costs.h"
#include "engine/parallel/parallel_plan.h"
#include "engine/rank_memory.h"
#include "engine/rank_paths.h"
#include "engine/runtime/memory.h"
#include "engine/runtime/read_bandwidth.h"
#include "engine/runtime/thread_pool.h"
#include "transport/base/log.h"

namespace dsl {
namespace {

using checkpoint::Checkpoint;
using checkpoint::ModelConfig;
using engine::RankWorker;
using parallel::ParallelPlan;

/// Ranks start within this time of each other.
constexpr auto kAgreementPatience = std::chrono::minutes(2);
/// Without a wish, the cache takes at most this part of the memory that is free at start.
constexpr std::int64_t kCacheShareOfMemory = 4;
/// A model that fits the caches is not bound by the memory's bandwidth, which is not measured then.
constexpr std::int64_t kBandwidthMatters = std::int64_t{256} << 20;

std::int64_t stage_cache_bytes_per_token(const EngineOptions& options, const ModelConfig& config,
                                         std::int64_t num_layers) {
  const DType dtype = model::cache_dtype(options.compute_dtype, options.fp8_cache);
  return num_layers * model::latent_bytes(config.kv_lora_rank, config.qk_rope_head_dim, dtype);
}

/// Tokens that this rank can cache in `available` bytes of the host's memory: as asked, or the
/// whole context as far as memory goes. The host has room for more than a rank's own share of it.
Result<std::int64_t> host_tokens(const EngineOptions& options, const ModelConfig& config,
                                 std::int64_t num_layers, std::int64_t available) {
  const std::int64_t per_token = stage_cache_bytes_per_token(options, config, num_layers);
  if (options.kv_tokens > 0) {
    if (options.kv_tokens > available / per_token) {
      return fail(ErrorCode::kOutOfMemory, "ask for fewer kv tokens or use more pipeline stages",
                  "a latent cache of {} tokens: {} bytes per token and rank make {} bytes, {} are "
                  "available",
                  options.kv_tokens, per_token, options.kv_tokens * per_token, available);
    }
    return options.kv_tokens;
  }
  const std::int64_t bounded = available / kCacheShareOfMemory / per_token;
  return std::clamp<std::int64_t>(bounded,
                                  std::min(model::kBlockTokens, config.max_position_embeddings),
                                  config.max_position_embeddings);
}

Status validate(const EngineOptions& options, const wire::Wire* wire) {
  if (options.compute_dtype != DType::kBF16 && options.compute_dtype != DType::kF32) {
    return fail(ErrorCode::kInvalidArgument, "use bf16 or f32", "compute dtype: found {}",
                name_of(options.compute_dtype));
  }
  DSL_TRY(model::check_cache(options.compute_dtype, options.fp8_cache));
  if (options.max_batch_tokens < 1 || options.kv_tokens < 0) {
    return fail(ErrorCode::kInvalidArgument, "use positive numbers",
                "engine options: expected max_batch_tokens of 1 or more and kv_tokens of 0 or "
                "more, found {} and {}",
                options.max_batch_tokens, options.kv_tokens);
  }
  const int world_size = wire == nullptr ? 1 : wire->world_size();
  if (options.tp < 1 || options.pp < 1 || options.tp * options.pp != world_size) {
    return fail(ErrorCode::kParallelism, "start tp * pp ranks",
                "a world of {} ranks: expected tp {} * pp {}", world_size, options.tp, options.pp);
  }
  return {};
}

/// Equal on all ranks that opened the same model.
std::uint64_t digest_of(const Checkpoint& checkpoint) {
  std::string all;
  for (const auto& tensor : checkpoint.tensors()) {
    all +=
        fmt::format("{} {} {};", tensor.name, name_of(tensor.dtype), fmt::join(tensor.shape, ","));
  }
  return std::hash<std::string>{}(all);
}

class RankEngine final : public Engine {
 public:
  RankEngine(std::unique_ptr<RankWorker> worker, EngineInfo info, std::int64_t max_context,
             double read_bytes_per_s)
      : worker_(std::move(worker)), info_(std::move(info)) {
    if (worker_->rank() != 0) return;
    leader_ = std::make_unique<engine::Leader>(*worker_, max_context, read_bytes_per_s);
  }

  const EngineInfo& info() const override { return info_; }
  std::shared_ptr<const RankPulse> pulse() const override { return worker_->pulse(); }
  std::shared_ptr<const DeviceUse> device_use() const override { return worker_->device_use(); }

  Status follow() override {
    DSL_CHECK(!leader_, "rank 0 leads");
    Status status = engine::Follower(*worker_).run();
    if (!status.has_value()) worker_->parts().wire->abort(status.error());
    return status;
  }
  Status start(std::function<void(const Error&)> on_failure) override {
    return leader().start(std::move(on_failure));
  }
  Result<RequestId> submit(GenerateRequest request, EventSink sink) override {
    return leader().submit(std::move(request), std::move(sink));
  }
  void cancel(RequestId id) override { leader().cancel(id); }
  Status score(std::span<const std::int32_t> token_ids,
               std::function<void(std::span<const float>)> rows) override {
    return leader().score(token_ids, std::move(rows));
  }
  EngineStats stats() const override {
    DSL_CHECK(leader_, "rank {} follows", worker_->rank());
    return leader_->stats();
  }
  void shutdown() override { leader().shutdown(); }

 private:
  engine::Leader& leader() {
    DSL_CHECK(leader_, "rank {} follows", worker_->rank());
    return *leader_;
  }

  std::unique_ptr<RankWorker> worker_;
  EngineInfo info_;
  std::unique_ptr<engine::Leader> leader_;  // rank 0
};

/// What this rank's threads can read when the other ranks are quiet; 0 when that says nothing.
double measure_limit(const RankWorker& worker) {
  if (worker.rank() != 0 || worker.shard_bytes() < kBandwidthMatters) return 0;
  return measure_read_bandwidth(*worker.parts().pool).value_or(0);
}

/// The ops and their memory; the CPU where no other device is asked for.
Result<Device> open_device(const EngineOptions& options, int node_rank, ThreadPool& pool) {
  if (options.open_device) return options.open_device(node_rank);
  Device device;
  device.memory = std::make_unique<HostMemory>();
  DSL_ASSIGN(device.ops, make_ops({options.kernels}, pool));
  return device;
}

/// Equal on ranks whose results are equal bit for bit.
std::string kernels_of(const EngineOptions& options, const Ops& ops) {
  std::string kernels =
      fmt::format("{} of at best {}", options.open_device ? ops.name() : options.kernels,
                  available_variants().back());
  if (options.fp8_activations) kernels += fmt::format(", FP8 as {}", ops.fp8_products());
  return kernels;
}

/// The log says once how a device multiplies the rows of prompts.
void log_products(const RankWorker& worker) {
  const auto& parts = worker.parts();
  if (worker.rank() != 0 || parts.device.memory->is_host()) return;
  if (parts.options.compute_dtype != DType::kBF16) return;
  log(LogLevel::kInfo,
      "many rows in BF16 are multiplied with weights in BF16 by {}, attention by {}",
      parts.device.ops->bf16_products(), parts.device.ops->attention_products());
}

EngineInfo describe(const RankWorker& worker, std::int64_t kv_tokens) {
  const auto& parts = worker.parts();
  EngineInfo info;
  info.model_type =
      parts.config.model_type == checkpoint::ModelType::kDeepseekV2 ? "deepseek_v2" : "deepseek_v3";
  info.kernels = parts.device.ops->name();
  info.bf16_products = parts.device.ops->bf16_products();
  info.attention_products = parts.device.ops->attention_products();
  info.tensor_path = parts.tensor_group == nullptr ? "none" : parts.tensor_path.name();
  info.hop_path = name_of(parts.hop_path.memory);
  info.vocab_size = parts.config.vocab_size;
  info.max_position_embeddings = parts.config.max_position_embeddings;
  info.kv_tokens = kv_tokens;
  info.shard_bytes = worker.shard_bytes();
  info.active_bytes_per_token = model::active_bytes_per_token(*parts.checkpoint, parts.config);
  info.kv_bytes_per_token =
      parts.plan.tp() *
      stage_cache_bytes_per_token(parts.options, parts.config, parts.config.num_hidden_layers);
  return info;
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(EngineOptions options, wire::Wire* wire,
                                               std::function<void(LoadProgress)> progress) {
  DSL_TRY(validate(options, wire));
  if (wire != nullptr && wire->world_size() == 1) wire = nullptr;
  const int rank = wire == nullptr ? 0 : wire->rank();
  DSL_ASSIGN(ModelConfig config, checkpoint::load_model_config(options.model_dir));
  DSL_ASSIGN(Checkpoint opened, Checkpoint::open(options.model_dir));
  auto checkpoint = std::make_unique<Checkpoint>(std::move(opened));
  DSL_ASSIGN(ParallelPlan plan,
             ParallelPlan::make(options.tp, options.pp, model::split_dimensions(config),
                                model::model_costs(*checkpoint, config)));
  const Deadline agreement = Deadline::after(kAgreementPatience);
  const engine::RankOffer offer{options.tp,
                                options.pp,
                                options.compute_dtype,
                                options.fp8_activations,
                                options.fp8_cache,
                                options.max_batch_tokens,
                                digest_of(*checkpoint)};
  DSL_ASSIGN(const engine::RankPlace place, engine::agree(wire, offer, agreement));
  if (options.fp8_cache && rank == 0) {
    log(LogLevel::kInfo, "FP8 cache: latents are quantised when they are stored");
  }

  DSL_ASSIGN(auto pool,
             ThreadPool::create({options.num_threads, place.local_rank, place.local_ranks, false}));
  DSL_ASSIGN(Device device, open_device(options, place.node_rank, *pool));
  if (options.fp8_activations && rank == 0) {
    log(LogLevel::kInfo,
        "FP8 activations: linears with FP8 weights quantise their inputs, and multiply them as {}",
        device.ops->fp8_products());
  }
  DSL_ASSIGN(parallel::HopPath hop_path,
             engine::agree_on_hop_path(device, options.pp, wire, agreement));
  auto tensor_group = engine::tensor_group_of(plan, rank, wire);
  DSL_ASSIGN(parallel::TensorPath tensor_path,
             engine::agree_on_tensor_path(device, tensor_group.get(), agreement));
  DSL_ASSIGN(tensor_path, engine::connect_shards(
                              std::move(tensor_path), device, engine::largest_sum(options, config),
                              tensor_group.get(), Deadline::after(kAgreementPatience)));
  // Returns when all ranks have come here, so that what any of them took of a device to be
  // connected is seen by those that share it.
  const Deadline planning = Deadline::after(kAgreementPatience);
  DSL_ASSIGN(const int num_device_ranks,
             engine::count_device_ranks(wire, device.identifier, kernels_of(options, *device.ops),
                                        planning));
  const engine::RankOnDevice on_device{
      options,
      *checkpoint,
      config,
      plan,
      rank,
      device,
      hop_path.memory,
      tensor_group == nullptr ? std::nullopt : std::optional(tensor_path.link)};
  std::optional<model::MemoryPlanner> planner;
  std::int64_t own_tokens = 0;
  if (device.memory->is_host()) {
    DSL_ASSIGN(own_tokens, host_tokens(options, config, plan.stage(plan.stage_of(rank)).num_layers,
                                       device.memory->free_bytes()));
  } else {
    DSL_ASSIGN(planner, engine::plan_memory(on_device));
    DSL_ASSIGN(own_tokens, engine::cacheable_tokens(on_device, *planner, num_device_ranks));
  }
  DSL_ASSIGN(const std::int64_t kv_tokens, engine::agree_on_cache(wire, own_tokens, planning));

  const std::int64_t max_context = std::min(config.max_position_embeddings, kv_tokens);
  DSL_ASSIGN(auto worker,
             RankWorker::create({std::move(options), std::move(config), std::move(checkpoint),
                                 std::move(pool), std::move(tensor_path), std::move(device),
                                 std::move(planner), std::move(tensor_group), std::move(hop_path),
                                 std::move(plan), engine::blocks_of(kv_tokens), wire},
                                progress));
  engine::log_hops(worker->parts().hop_path, worker->hop_buffer_bytes());
  log_products(*worker);
  DSL_TRY(engine::wait_until_all_loaded(wire));
  EngineInfo info = describe(*worker, kv_tokens);
  const double read_bytes_per_s = measure_limit(*worker);
  return std::make_unique<RankEngine>(std::move(worker), std::move(info), max_context,
                                      read_bytes_per_s);
}

}  // namespace dsl
