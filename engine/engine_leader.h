// Rank 0's engine thread: takes requests, forms steps, keeps the pipeline full and hands out
// tokens.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/engine_messages.h"
#include "engine/engine_rank.h"
#include "engine/engine_requests.h"
#include "engine/farewells.h"
#include "engine/request_checks.h"
#include "engine/request_inbox.h"
#include "engine/scheduler/scheduler.h"
#include "engine/stats_board.h"
#include "engine/step_in_flight.h"

namespace dsl::engine {

/// Non-owning: the worker must outlive it. submit(), cancel(), score() and stats() are thread-safe;
/// start() and shutdown() belong to the owner.
class Leader {
 public:
  /// `read_bytes_per_s` is the measured limit of this rank, or 0.
  Leader(RankWorker& worker, std::int64_t max_context, double read_bytes_per_s);
  ~Leader();

  Status start(std::function<void(const Error&)> on_failure);
  Result<Engine::RequestId> submit(GenerateRequest request, Engine::EventSink sink);
  void cancel(Engine::RequestId id);
  Status score(std::span<const std::int32_t> token_ids,
               std::function<void(std::span<const float>)> rows);
  EngineStats stats() const { return board_.snapshot(); }
  void shutdown();

 private:
  using SequenceId = scheduler::SequenceId;

  ContextLimit context_limit() const;
  void run();
  Status serve();
  /// Handles what other threads posted; waits for it when `idle`. False when the engine is to stop.
  Result<bool> take_messages(bool idle);
  void handle(RequestInbox::Submission submission);
  void handle(RequestInbox::ScoreSubmission submission);
  void handle(RequestInbox::Cancellation cancellation);

  void publish_stats();
  Status launch(scheduler::StepPlan plan);
  Status collect();
  Status receive_results(StepInFlight& step);
  void deliver_scored(SequenceId id, std::int64_t position, std::span<const float> row);
  void finish_scored(const StepInFlight& step);
  void deliver_token(SequenceId id, sampling::SampledToken token);

  Status end_world();
  void end_all(FinishReason reason, const Error& error);

  RankWorker& worker_;
  const std::int64_t max_context_;
  std::function<void(const Error&)> on_failure_;

  StatsBoard board_;
  RequestInbox inbox_;

  // The engine thread's own.
  scheduler::Scheduler scheduler_;
  std::map<SequenceId, Generation> generations_;
  std::optional<SequenceId> canary_;
  std::map<SequenceId, std::shared_ptr<ScoreJob>> scores_;
  std::deque<StepInFlight> in_flight_;
  std::optional<PlanSender> plan_sender_;
  Farewells farewells_;
  std::uint64_t num_plans_ = 0;
  std::uint64_t num_scored_rows_received_ = 0;
  std::thread thread_;
};

}  // namespace dsl::engine
