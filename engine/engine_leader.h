// Rank 0's engine thread: takes requests, forms steps, keeps the pipeline full and hands out
// tokens.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "engine/engine_messages.h"
#include "engine/engine_rank.h"
#include "engine/engine_requests.h"
#include "engine/scheduler/scheduler.h"
#include "engine/stats_board.h"

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

  struct Submission {
    SequenceId id{};
    Generation generation;
  };
  struct ScoreSubmission {
    SequenceId id{};
    std::vector<std::int32_t> token_ids;
    std::shared_ptr<ScoreJob> job;
  };
  struct Cancellation {
    SequenceId id{};
  };
  using Message = std::variant<Submission, ScoreSubmission, Cancellation>;

  /// Rows of one scored sequence in a step.
  struct ScoredRows {
    SequenceId id{};
    std::int64_t first_position = 0;
    std::int64_t num_rows = 0;
    bool is_last = false;  // up to the end of the sequence
  };
  struct StepInFlight {
    std::uint64_t step = 0;
    StepRecord record;
    StatsBoard::Clock::time_point begin;
    std::vector<SequenceId> sampled;  // in the order of shapes
    std::vector<scheduler::ResultShape> shapes;
    std::vector<ScoredRows> scored;
    std::vector<sampling::SampledToken> tokens;   // when this rank samples
    std::optional<PostedReceive> tokens_receive;  // when another rank samples
  };

  Status validate(const GenerateRequest& request) const;
  Status check_context(std::int64_t num_tokens) const;
  /// kCancelled or the error that ended the engine, once it takes no request any more; kOverloaded
  /// when as many wait as may.
  Status check_open() const;
  /// Under mutex_: counts a request, and wakes the engine thread to handle it.
  void post(Message message);

  void run();
  Status serve();
  /// Handles what other threads posted; waits for it when `idle`. False when the engine is to stop.
  Result<bool> take_messages(bool idle);
  void handle(Submission submission);
  void handle(ScoreSubmission submission);
  void handle(Cancellation cancellation);

  void publish_stats();
  Status launch(scheduler::StepPlan plan);
  StepInFlight describe(const scheduler::StepPlan& plan, const scheduler::StepRows& rows) const;
  Status collect();
  Status receive_results(StepInFlight& step);
  void deliver_scored(SequenceId id, std::int64_t position, std::span<const float> row);
  void finish_scored(const StepInFlight& step);
  void deliver_token(SequenceId id, sampling::SampledToken token);

  Status watch_world();
  Status check_world();
  Status end_world();
  void end_all(FinishReason reason, const Error& error);

  RankWorker& worker_;
  const std::int64_t max_context_;
  std::function<void(const Error&)> on_failure_;

  std::mutex mutex_;
  std::condition_variable posted_;  // to the engine thread
  std::condition_variable scored_;  // to score()
  std::deque<Message> messages_;    // guarded by mutex_
  std::uint64_t next_id_ = 1;       // guarded by mutex_
  std::int64_t num_waiting_ = 0;    // guarded by mutex_; in the scheduler, of a moment ago
  bool stopping_ = false;           // guarded by mutex_
  std::optional<Error> ended_;      // guarded by mutex_; set when no request is taken any more

  StatsBoard board_;

  // The engine thread's own.
  scheduler::Scheduler scheduler_;
  std::map<SequenceId, Generation> generations_;
  std::optional<SequenceId> canary_;
  std::map<SequenceId, std::shared_ptr<ScoreJob>> scores_;
  std::deque<StepInFlight> in_flight_;
  std::optional<PlanSender> plan_sender_;
  std::vector<PostedReceive> farewells_;  // one per follower; one that is done early is a lost rank
  std::uint64_t num_plans_ = 0;
  std::uint64_t num_scored_rows_received_ = 0;
  std::thread thread_;
};

}  // namespace dsl::engine
