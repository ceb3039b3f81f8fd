#include "engine/serving/engine_port/generate_stream.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "transport/base/log.h"

namespace dsl::serving {
namespace {

using nlohmann::ordered_json;

std::string to_line(const ordered_json& object) {
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// JSON has no infinities; a token excluded by the model has log probability -inf.
float finite(float logprob) { return std::max(logprob, -9999.0f); }

ordered_json logprobs_of(const sampling::SampledToken& token) {
  ordered_json top = ordered_json::array();
  for (const sampling::TokenLogprob& alternative : token.top_logprobs) {
    top.push_back({{"token_id", alternative.token_id}, {"logprob", finite(alternative.logprob)}});
  }
  return {
      {"token_id", token.token_id}, {"logprob", finite(token.logprob)}, {"top", std::move(top)}};
}

}  // namespace

GenerateStream::GenerateStream(Engine& engine, EngineMetrics& metrics, const GenerateCall& call,
                               std::optional<TextStream> text)
    : engine_(engine),
      metrics_(metrics),
      request_id_(call.request_id),
      stream_id_(call.stream_id),
      stop_token_ids_(call.request.stop_token_ids),
      num_prompt_tokens_(static_cast<std::int64_t>(call.request.prompt_token_ids.size())),
      seed_(call.request.sampling.seed),
      wants_logprobs_(call.wants_logprobs),
      wants_text_(call.wants_text),
      text_(std::move(text)) {}

Result<std::shared_ptr<GenerateStream>> GenerateStream::open(Engine& engine, EngineMetrics& metrics,
                                                             GenerateCall call,
                                                             std::optional<TextStream> text) {
  std::shared_ptr<GenerateStream> stream(
      new GenerateStream(engine, metrics, call, std::move(text)));
  // The client has the text of these tokens; what they leave held back comes with the next ones.
  for (const std::int32_t id : call.request.emitted_token_ids) {
    if (stream->text_) stream->text_->push(id);
  }
  if (stream->text_ && stream->text_->is_stopped()) {
    stream->is_stopped_ = true;
    GenerateEvent end;
    end.finished = true;
    stream->push(std::move(end));
    return stream;
  }
  DSL_ASSIGN(stream->id_, engine.submit(std::move(call.request), [stream](GenerateEvent event) {
    stream->push(std::move(event));
  }));
  return stream;
}

void GenerateStream::push(GenerateEvent event) {
  const std::scoped_lock lock(mutex_);
  if (has_final_event_) return;
  has_final_event_ = event.finished;
  events_.push_back(std::move(event));
  if (wake_) wake_();
}

void GenerateStream::fail(const Error& error) {
  GenerateEvent event;
  event.finished = true;
  event.finish_reason = FinishReason::kError;
  event.error = error;
  push(std::move(event));
}

/// The last event brings the timings; tokens before it, which nobody wants, are left out.
bool GenerateStream::stop() {
  const std::scoped_lock lock(mutex_);
  if (has_final_event_ || is_stopped_) return false;
  is_stopped_ = true;
  if (id_) engine_.cancel(*id_);
  return true;
}

void GenerateStream::on_ready(std::function<void()> wake) {
  const std::scoped_lock lock(mutex_);
  wake_ = std::move(wake);
}

void GenerateStream::abandon() {
  {
    const std::scoped_lock lock(mutex_);
    wake_ = nullptr;
    if (!has_final_event_ && id_) engine_.cancel(*id_);
  }
  note_end(RequestOutcome::kAbort, {});
}

ResponseStream::Piece GenerateStream::take() {
  std::vector<GenerateEvent> events;
  {
    const std::scoped_lock lock(mutex_);
    events.swap(events_);
  }
  Piece piece;
  Batch batch;
  for (GenerateEvent& event : events) {
    add_tokens(event, batch);
    if (!event.finished) continue;
    if (text_ && !is_stopped_) {
      batch.text += text_->finish();
      is_stopped_ = text_->is_stopped();
    }
    piece.is_last = true;
  }
  if (!batch.tokens.empty() || !batch.text.empty()) piece.bytes = batch_line(batch);
  if (!batch.tokens.empty()) note_tokens(static_cast<std::int64_t>(batch.tokens.size()));
  if (piece.is_last) {
    piece.bytes += last_line(events.back());
    note_end(outcome_of(events.back()), events.back());
    const std::scoped_lock lock(mutex_);
    wake_ = nullptr;
  }
  return piece;
}

/// A stop token ends the answer and is not part of its text.
bool GenerateStream::is_silent_stop_token(const GenerateEvent& event, std::size_t index) const {
  return event.finished && event.finish_reason == FinishReason::kStop &&
         index + 1 == event.tokens.size() &&
         std::find(stop_token_ids_.begin(), stop_token_ids_.end(), event.tokens[index].token_id) !=
             stop_token_ids_.end();
}

void GenerateStream::add_tokens(GenerateEvent& event, Batch& batch) {
  for (std::size_t i = 0; i < event.tokens.size() && !is_stopped_; ++i) {
    const bool is_silent = is_silent_stop_token(event, i);
    batch.tokens.push_back(std::move(event.tokens[i]));
    ++num_completion_tokens_;
    if (!text_ || is_silent) continue;
    batch.text += text_->push(batch.tokens.back().token_id);
    if (text_->is_stopped()) {
      is_stopped_ = true;
      if (id_ && !event.finished) engine_.cancel(*id_);  // its last event brings the timings
    }
  }
}

std::string GenerateStream::batch_line(const Batch& batch) const {
  ordered_json token_ids = ordered_json::array();
  for (const sampling::SampledToken& token : batch.tokens) token_ids.push_back(token.token_id);
  ordered_json line{{"token_ids", std::move(token_ids)}};
  if (text_ && wants_text_) line["text"] = batch.text;
  if (wants_logprobs_) {
    ordered_json logprobs = ordered_json::array();
    for (const sampling::SampledToken& token : batch.tokens) logprobs.push_back(logprobs_of(token));
    line["logprobs"] = std::move(logprobs);
  }
  return to_line(line);
}

std::string GenerateStream::last_line(const GenerateEvent& event) const {
  const RequestOutcome outcome = outcome_of(event);
  if (outcome == RequestOutcome::kError) return error_json(event.error) + "\n";
  if (outcome == RequestOutcome::kAbort) {
    return error_json({ErrorCode::kCancelled,
                       "the engine was shut down in the middle of the answer",
                       "send the request again, with the tokens received as emitted_token_ids"}) +
           "\n";
  }
  const GenerateTimings& timings = event.timings;
  return to_line({{"finish_reason", outcome == RequestOutcome::kLength ? "length" : "stop"},
                  {"usage",
                   {{"prompt_tokens", num_prompt_tokens_},
                    {"completion_tokens", num_completion_tokens_},
                    {"cached_prompt_tokens", event.cached_prompt_tokens}}},
                  {"timings",
                   {{"queue_s", timings.queue_s},
                    {"prefill_s", timings.prefill_s},
                    {"decode_s", timings.decode_s},
                    {"time_to_first_token_s", timings.time_to_first_token_s}}},
                  {"seed", seed_}});
}

RequestOutcome GenerateStream::outcome_of(const GenerateEvent& event) const {
  if (is_stopped_) return RequestOutcome::kStop;
  switch (event.finish_reason) {
    case FinishReason::kStop:
      return RequestOutcome::kStop;
    case FinishReason::kLength:
      return RequestOutcome::kLength;
    case FinishReason::kCancelled:
      return RequestOutcome::kAbort;
    case FinishReason::kError:
      break;
  }
  return RequestOutcome::kError;
}

void GenerateStream::note_tokens(std::int64_t count) {
  const auto now = Clock::now();
  if (last_tokens_) {
    metrics_.note_next_tokens(seconds(now - *last_tokens_), count);
  } else {
    metrics_.note_first_tokens(seconds(now - arrived_), num_prompt_tokens_, count);
  }
  last_tokens_ = now;
}

void GenerateStream::note_end(RequestOutcome outcome, const GenerateEvent& last) {
  if (std::exchange(is_noted_, true)) return;
  const double total_s = seconds(Clock::now() - arrived_);
  metrics_.note_end({outcome, last.timings, total_s, num_prompt_tokens_, num_completion_tokens_});
  if (request_id_.empty()) return;
  log(LogLevel::kInfo,
      "request {}: {}, {} prompt tokens ({} cached), {} new ones; queue {:.3f} s, prefill {:.3f} "
      "s, decode {:.3f} s, in all {:.3f} s",
      request_id_, name_of(outcome), num_prompt_tokens_, last.cached_prompt_tokens,
      num_completion_tokens_, last.timings.queue_s, last.timings.prefill_s, last.timings.decode_s,
      total_s);
}

}  // namespace dsl::serving
