#include "engine/engine_requests.h"

#include <algorithm>
#include <utility>

#include "engine/engine_stats.h"

namespace dsl::engine {

Generation::Generation(GenerateRequest request, Engine::EventSink sink, std::int64_t max_new_tokens,
                       const std::vector<std::int32_t>& eos_token_ids)
    : request_(std::move(request)),
      sink_(std::move(sink)),
      max_new_tokens_(max_new_tokens),
      num_new_tokens_(static_cast<std::int64_t>(request_.emitted_token_ids.size())),
      end_token_ids_(request_.stop_token_ids) {
  if (request_.ignore_eos) return;
  end_token_ids_.insert(end_token_ids_.end(), eos_token_ids.begin(), eos_token_ids.end());
}

scheduler::SequenceStart Generation::sequence(scheduler::SequenceId id) const {
  scheduler::SequenceStart start;
  start.id = id;
  start.num_prompt_tokens = static_cast<std::int64_t>(request_.prompt_token_ids.size());
  start.token_ids = request_.prompt_token_ids;
  start.token_ids.insert(start.token_ids.end(), request_.emitted_token_ids.begin(),
                         request_.emitted_token_ids.end());
  start.sampling = request_.sampling;
  return start;
}

scheduler::SequenceTerms Generation::terms() const {
  const auto num_prompt_tokens = static_cast<std::int64_t>(request_.prompt_token_ids.size());
  return {num_prompt_tokens + max_new_tokens_, request_.priority, request_.tenant};
}

std::optional<FinishReason> Generation::reason_to_end_at_once() const {
  if (request_.emitted_token_ids.empty()) return std::nullopt;
  return reason_to_end(request_.emitted_token_ids.back());
}

void Generation::mark_started(std::int64_t num_cached_tokens) {
  if (started_) return;
  started_ = Clock::now();
  cached_prompt_tokens_ =
      std::min(num_cached_tokens, static_cast<std::int64_t>(request_.prompt_token_ids.size()));
}

bool Generation::deliver(sampling::SampledToken token) {
  ++num_new_tokens_;
  if (!first_token_) first_token_ = Clock::now();
  GenerateEvent event;
  if (const auto reason = reason_to_end(token.token_id)) event = last_event(*reason);
  event.tokens.push_back(std::move(token));
  const bool finished = event.finished;
  sink_(std::move(event));
  return finished;
}

void Generation::end(FinishReason reason, const Error& error) {
  GenerateEvent event = last_event(reason);
  event.error = error;
  sink_(std::move(event));
}

GenerateEvent Generation::last_event(FinishReason reason) const {
  GenerateEvent event;
  event.finished = true;
  event.finish_reason = reason;
  event.timings = timings();
  event.cached_prompt_tokens = cached_prompt_tokens_;
  return event;
}

std::optional<FinishReason> Generation::reason_to_end(std::int32_t last_token_id) const {
  const bool is_end = std::find(end_token_ids_.begin(), end_token_ids_.end(), last_token_id) !=
                      end_token_ids_.end();
  if (is_end) return FinishReason::kStop;
  if (num_new_tokens_ >= max_new_tokens_) return FinishReason::kLength;
  return std::nullopt;
}

GenerateTimings Generation::timings() const {
  const auto now = Clock::now();
  const auto started = started_.value_or(now);
  const auto first_token = first_token_.value_or(now);
  return {to_seconds(started - submitted_), to_seconds(first_token - started),
          to_seconds(now - first_token), to_seconds(first_token - submitted_)};
}

void ScoreJob::deliver(std::int64_t position, std::span<const float> row) {
  if (position != num_delivered_) return;
  rows_(row);
  ++num_delivered_;
}

void ScoreJob::end(Status outcome) {
  const std::lock_guard lock(mutex_);
  outcome_ = std::move(outcome);
  ended_.notify_all();
}

Status ScoreJob::wait() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return outcome_.has_value(); });
  return *outcome_;
}

}  // namespace dsl::engine
