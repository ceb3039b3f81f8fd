// What rank 0 keeps of each request: what was asked, how far it is, and who hears of it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/scheduler/sequence.h"

namespace dsl::engine {

/// A generation from submit() to its last event. Thread-compatible: the engine thread's after its
/// construction.
class Generation {
 public:
  /// `max_new_tokens` counts emitted tokens too. The token ids in `eos_token_ids` end it, unless
  /// the request says not.
  Generation(GenerateRequest request, Engine::EventSink sink, std::int64_t max_new_tokens,
             const std::vector<std::int32_t>& eos_token_ids);

  /// The sequence to be computed: prompt and emitted tokens.
  scheduler::SequenceStart sequence(scheduler::SequenceId id) const;
  scheduler::SequenceTerms terms() const;
  /// Why a request whose emitted tokens are complete already ends at once.
  std::optional<FinishReason> reason_to_end_at_once() const;

  /// The first call says when the request left the queue, and how many of its tokens were cached.
  void mark_started(std::int64_t num_cached_tokens);
  bool has_started() const { return started_.has_value(); }
  bool is_canary() const { return request_.is_canary; }
  /// Passes a new token on. True when it was the last one, and the stream has ended.
  bool deliver(sampling::SampledToken token);
  /// Ends the stream without a further token; `error` with kError.
  void end(FinishReason reason, const Error& error = {});

 private:
  using Clock = std::chrono::steady_clock;

  std::optional<FinishReason> reason_to_end(std::int32_t last_token_id) const;
  /// The event that ends the stream.
  GenerateEvent last_event(FinishReason reason) const;
  GenerateTimings timings() const;

  GenerateRequest request_;
  Engine::EventSink sink_;
  std::int64_t max_new_tokens_;
  std::int64_t num_new_tokens_;
  std::vector<std::int32_t> end_token_ids_;
  std::int64_t cached_prompt_tokens_ = 0;
  Clock::time_point submitted_ = Clock::now();
  std::optional<Clock::time_point> started_;
  std::optional<Clock::time_point> first_token_;
};

/// A score() call: its caller waits while the engine thread delivers rows. Thread-safe.
class ScoreJob {
 public:
  explicit ScoreJob(std::function<void(std::span<const float>)> rows) : rows_(std::move(rows)) {}

  /// Engine thread: logits of one position. A preempted sequence computes its first rows twice;
  /// they are passed on once, in order.
  void deliver(std::int64_t position, std::span<const float> row);
  /// Engine thread: lets wait() return.
  void end(Status outcome);
  /// The outcome, when there is one.
  Status wait();

 private:
  std::function<void(std::span<const float>)> rows_;
  std::int64_t num_delivered_ = 0;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::optional<Status> outcome_;  // guarded by mutex_
};

}  // namespace dsl::engine
