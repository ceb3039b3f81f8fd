#include "engine/serving/engine_port/generate_stream.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace dsl::serving {
namespace {

using nlohmann::ordered_json;

std::string to_line(const ordered_json& object) {
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
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

GenerateStream::GenerateStream(Engine& engine, const GenerateCall& call,
                               std::optional<TextStream> text)
    : engine_(engine),
      stop_token_ids_(call.request.stop_token_ids),
      num_prompt_tokens_(static_cast<std::int64_t>(call.request.prompt_token_ids.size())),
      seed_(call.request.sampling.seed),
      wants_logprobs_(call.wants_logprobs),
      text_(std::move(text)) {}

Result<std::shared_ptr<GenerateStream>> GenerateStream::open(Engine& engine, GenerateCall call,
                                                             std::optional<TextStream> text) {
  std::shared_ptr<GenerateStream> stream(new GenerateStream(engine, call, std::move(text)));
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

void GenerateStream::on_ready(std::function<void()> wake) {
  const std::scoped_lock lock(mutex_);
  wake_ = std::move(wake);
}

void GenerateStream::abandon() {
  {
    const std::scoped_lock lock(mutex_);
    wake_ = nullptr;
    if (has_final_event_) return;
  }
  if (id_) engine_.cancel(*id_);
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
  if (piece.is_last) {
    piece.bytes += last_line(events.back());
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
  if (text_) line["text"] = batch.text;
  if (wants_logprobs_) {
    ordered_json logprobs = ordered_json::array();
    for (const sampling::SampledToken& token : batch.tokens) logprobs.push_back(logprobs_of(token));
    line["logprobs"] = std::move(logprobs);
  }
  return to_line(line);
}

std::string GenerateStream::last_line(const GenerateEvent& event) const {
  if (!is_stopped_ && event.finish_reason == FinishReason::kError)
    return error_json(event.error) + "\n";
  if (!is_stopped_ && event.finish_reason == FinishReason::kCancelled) {
    return error_json({ErrorCode::kCancelled,
                       "the engine was shut down in the middle of the answer",
                       "send the request again, with the tokens received as emitted_token_ids"}) +
           "\n";
  }
  const bool is_length = !is_stopped_ && event.finish_reason == FinishReason::kLength;
  const GenerateTimings& timings = event.timings;
  return to_line(
      {{"finish_reason", is_length ? "length" : "stop"},
       {"usage",
        {{"prompt_tokens", num_prompt_tokens_}, {"completion_tokens", num_completion_tokens_}}},
       {"timings",
        {{"queue_s", timings.queue_s},
         {"prefill_s", timings.prefill_s},
         {"decode_s", timings.decode_s},
         {"time_to_first_token_s", timings.time_to_first_token_s}}},
       {"seed", seed_}});
}

}  // namespace dsl::serving
