// A whole world of ranks as threads of the test process, and blocking forms of the engine's calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "transport/inproc/inproc_world.h"

namespace dsl::testing {

/// Everything that a request's stream said.
struct Generated {
  std::vector<std::int32_t> token_ids;
  std::vector<sampling::SampledToken> tokens;
  FinishReason finish_reason = FinishReason::kError;
  GenerateTimings timings;
  std::int64_t cached_prompt_tokens = 0;
  Error error;
};

/// A request under way. Non-owning of the engine.
class PendingGeneration {
 public:
  PendingGeneration();
  static Result<PendingGeneration> submit(Engine& engine, GenerateRequest request);
  Engine::RequestId id() const { return id_; }
  Generated wait();

 private:
  struct State;
  std::shared_ptr<State> state_;
  Engine::RequestId id_ = 0;
};

/// Owns options.tp * options.pp engines over the in-process transport; ranks above 0 follow in
/// their own threads.
class InProcessWorld {
 public:
  static Result<std::unique_ptr<InProcessWorld>> start(const EngineOptions& options);
  /// The same over what `wrap` makes of a wire.
  using WrapWire = std::function<std::unique_ptr<wire::Wire>(std::unique_ptr<wire::Wire>)>;
  static Result<std::unique_ptr<InProcessWorld>> start_over(const EngineOptions& options,
                                                            const WrapWire& wrap);
  /// The same, but `silent_rank` (above 0) loads and then never takes part in a step, as if it
  /// hung.
  static Result<std::unique_ptr<InProcessWorld>> start_with_silent_rank(
      const EngineOptions& options, std::size_t silent_rank);
  ~InProcessWorld();

  Engine& leader() { return *engines_[0]; }
  std::size_t size() const { return engines_.size(); }
  const Engine& engine(std::size_t rank) const { return *engines_[rank]; }
  Generated generate(GenerateRequest request);
  /// Logits of all positions, row-major.
  Result<std::vector<float>> score(std::span<const std::int32_t> token_ids);

  /// Makes a rank above 0 fail, as if it had lost its connections.
  void break_rank(std::size_t rank, const Error& error) { wires_[rank]->abort(error); }

  /// Ends the world and returns what follow() returned on ranks 1 and above; ok for a silent rank.
  std::vector<Status> shutdown();
  /// What rank 0's on_failure was told; after shutdown().
  std::optional<Error> failure() const { return failure_; }

 private:
  explicit InProcessWorld(int size) : world_(size) {}
  static Result<std::unique_ptr<InProcessWorld>> start(const EngineOptions& options,
                                                       std::size_t silent_rank,
                                                       const WrapWire& wrap);

  /// Tells every rank of a rank's error, as the failure detector of a real world does.
  void spread(const Error& error) { world_.abort_all(error); }

  inproc::World world_;
  std::vector<std::unique_ptr<wire::Wire>> wires_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<std::thread> followers_;
  std::vector<Status> outcomes_;
  std::optional<Error> failure_;
};

}  // namespace dsl::testing
