// The engine of one rank: loads its shard of the model and, on rank 0, serves requests through the
// whole world.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/device_use.h"
#include "engine/engine_stats.h"
#include "engine/kernels/device.h"
#include "engine/rank_pulse.h"
#include "engine/sampling/sampler.h"
#include "engine/tensor/dtype.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/wire/wire.h"

namespace dsl {

struct EngineOptions {
  std::filesystem::path model_dir;
  int tp = 1;
  int pp = 1;
  DType compute_dtype = DType::kBF16;  // kBF16 or kF32
  bool fp8_activations = false;        // linears with FP8 weights quantise their inputs
  bool fp8_cache = false;              // of latents; with kBF16 only
  int num_threads = 0;                 // 0: the cores of this process's cpuset
  std::string kernels = "auto";        // auto, scalar, avx2, avx512, avx512_bf16
  DeviceOpener open_device;            // empty: the CPU, with `kernels`
  std::int64_t kv_tokens = 0;          // capacity of the latent cache; 0: on the CPU
                               // max_position_embeddings, bounded by memory; on a device what is
                               // left of it
  std::int64_t max_batch_tokens = 256;  // tokens of one step (prefill chunk)
  std::int64_t max_waiting = 1024;      // requests that wait for the cache; more are refused
  bool prefix_cache = true;             // requests with the same beginning share its blocks
  std::chrono::milliseconds step_deadline{
      5000};  // a peer that is silent for longer inside a step is an error
};

/// Why a request ended.
enum class FinishReason : std::uint8_t { kStop, kLength, kCancelled, kError };

struct GenerateRequest {
  std::vector<std::int32_t> prompt_token_ids;
  std::vector<std::int32_t>
      emitted_token_ids;  // already generated elsewhere: continued, not repeated
  sampling::SamplingParams sampling;
  std::vector<std::int32_t> stop_token_ids;  // beside the model's eos
  bool ignore_eos = false;
  std::int64_t max_tokens = 0;  // new tokens including emitted ones
  std::string tenant;           // tenants get equal shares of the engine
  int priority = 0;             // higher ones go first
  bool is_canary = false;       // asks for a sign of life; in no count of requests
};

struct GenerateTimings {
  double queue_s = 0;
  double prefill_s = 0;
  double decode_s = 0;
  double time_to_first_token_s = 0;
};

/// One event of a request's stream: new tokens, and at the end the reason. A token that stops the
/// request (eos or a stop token) is part of the stream.
struct GenerateEvent {
  std::vector<sampling::SampledToken> tokens;
  bool finished = false;
  FinishReason finish_reason = FinishReason::kStop;
  GenerateTimings timings;                // valid when finished
  std::int64_t cached_prompt_tokens = 0;  // likewise: what another request had computed
  Error error;                            // valid with kError
};

struct LoadProgress {
  std::int64_t bytes_loaded = 0;
  std::int64_t bytes_total = 0;
};

struct EngineInfo {
  std::string model_type;
  std::string kernels;
  std::string bf16_products;       // Ops::bf16_products() of this rank
  std::string attention_products;  // Ops::attention_products()
  std::string tensor_path;  // of this rank's sums over shards: "nccl", "host"; "none" for tp 1
  /// Of its hops from and to other stages: "host", "pinned", "device"; "none" for pp 1.
  std::string hop_path;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
  std::int64_t kv_tokens = 0;
  std::int64_t shard_bytes = 0;             // weights this rank maps and reads
  std::int64_t active_bytes_per_token = 0;  // whole world, batch 1, embedding row included
  std::int64_t kv_bytes_per_token = 0;      // whole world
};

/// One rank. All ranks create an Engine over the same world; ranks other than 0 then follow(). Rank
/// 0 submits from any thread; its engine thread forms steps. Thread-safe where said.
class Engine {
 public:
  using RequestId = std::uint64_t;
  using EventSink =
      std::function<void(GenerateEvent)>;  // called from the engine thread, must not block

  /// Loads this rank's shard. `wire` may be null for a world of one. The wire must outlive the
  /// engine.
  static Result<std::unique_ptr<Engine>> create(EngineOptions options, wire::Wire* wire,
                                                std::function<void(LoadProgress)> progress);
  virtual ~Engine() = default;

  virtual const EngineInfo& info() const = 0;
  /// Whether this rank's steps advance. Whoever tells others of it may outlive the engine.
  virtual std::shared_ptr<const RankPulse> pulse() const = 0;
  /// What this rank holds of its device; null on the CPU. Likewise.
  virtual std::shared_ptr<const DeviceUse> device_use() const = 0;

  /// Ranks other than 0: executes step plans until rank 0 shuts down (ok) or the world fails
  /// (error).
  virtual Status follow() = 0;

  /// Rank 0: starts the engine thread; `on_failure` is called once if the world fails.
  virtual Status start(std::function<void(const Error&)> on_failure) = 0;
  /// Rank 0, thread-safe: queues a request; events arrive through `sink` until one is finished.
  /// kOverloaded when max_waiting wait already.
  virtual Result<RequestId> submit(GenerateRequest request, EventSink sink) = 0;
  /// Rank 0, thread-safe: ends a request within one step.
  virtual void cancel(RequestId id) = 0;
  /// Rank 0, thread-safe, blocking: float32 logits of every position through `rows` in order, a
  /// chunk of rows [num_rows, vocab_size] at a time.
  virtual Status score(std::span<const std::int32_t> token_ids,
                       std::function<void(std::span<const float> rows)> rows) = 0;
  /// Rank 0, thread-safe.
  virtual EngineStats stats() const = 0;
  /// Rank 0: lets running requests end with kCancelled, tells all ranks to return from follow().
  virtual void shutdown() = 0;
};

}  // namespace dsl
