#include "engine/serving/text_service/answer_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/serving/text_service/json_text.h"

namespace dsl::serving {
namespace {

std::int64_t count_characters(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

/// A bijective mixer (splitmix64's), so that different inputs give different ids.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

}  // namespace

AnswerParts::AnswerParts(const text::Tokenizer& tokenizer, const AnswerFormat& format)
    : kind_(format.kind),
      is_streamed_(format.is_streamed),
      choice_index_(format.choice_index),
      tool_call_id_key_(format.tool_call_id_key),
      content_(format.echo_text) {
  if (!format.wants_logprobs) return;
  logprobs_.emplace(tokenizer, format.kind);
  num_characters_ = count_characters(format.echo_text);
}

void AnswerParts::note_token(const sampling::SampledToken& token) {
  if (logprobs_) logprobs_->add(token, num_received_, num_characters_);
}

void AnswerParts::receive(std::string_view text) {
  num_received_ += text.size();
  if (logprobs_) num_characters_ += count_characters(text);
}

void AnswerParts::decide(std::size_t num_bytes, TextFate fate) {
  num_decided_ += num_bytes;
  if (logprobs_) logprobs_->decide(num_decided_, fate);
}

void AnswerParts::content(std::string_view text) {
  content_ += text;
  decide(text.size(), TextFate::kContent);
}

void AnswerParts::reasoning(std::string_view text) {
  reasoning_ += text;
  decide(text.size(), TextFate::kReasoning);
}

void AnswerParts::drop(std::size_t num_bytes) { decide(num_bytes, TextFate::kDropped); }

void AnswerParts::begin_call(std::string_view name) {
  calls_.push_back({num_calls_++, std::string(name), {}});
}

void AnswerParts::call_arguments(std::string_view text) {
  const std::int32_t index = num_calls_ - 1;
  if (calls_.empty() || calls_.back().index != index) calls_.push_back({index, {}, {}});
  calls_.back().arguments += text;
}

bool AnswerParts::has_news() const {
  return !content_.empty() || !reasoning_.empty() || !calls_.empty() ||
         (logprobs_ && !logprobs_->is_empty());
}

std::string AnswerParts::call_id(std::int32_t index) const {
  const std::uint64_t place =
      (static_cast<std::uint64_t>(static_cast<std::uint32_t>(choice_index_)) << 32) |
      static_cast<std::uint32_t>(index);
  const std::uint64_t high = mix(tool_call_id_key_ + 0x9E3779B97F4A7C15U * (place + 1));
  return fmt::format("call_{:016x}{:08x}", high, static_cast<std::uint32_t>(mix(high)));
}

void AnswerParts::append_call(std::string& json, const Call& call) const {
  json += '{';
  if (is_streamed_) {
    json += "\"index\":";
    append_json_integer(json, call.index);
    json += ',';
  }
  if (!call.name.empty()) {
    json += "\"id\":\"";
    json += call_id(call.index);
    json += "\",\"type\":\"function\",";
  }
  json += "\"function\":{";
  if (!call.name.empty()) {
    json += "\"name\":";
    append_json_string(json, call.name);
    json += ',';
  }
  json += "\"arguments\":";
  append_json_string(json, call.arguments);
  json += "}}";
}

void AnswerParts::append_calls(std::string& json) {
  json += "\"tool_calls\":[";
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    if (i > 0) json += ',';
    append_call(json, calls_[i]);
  }
  calls_.clear();
  json += ']';
}

void AnswerParts::append_delta(std::string& json) {
  json += "\"delta\":{";
  bool is_first = true;
  const auto append_field = [&](std::string_view name, std::string& text) {
    if (text.empty()) return;
    json += std::exchange(is_first, false) ? "\"" : ",\"";
    json += name;
    json += "\":";
    append_json_string(json, text);
    text.clear();
  };
  if (!std::exchange(has_told_role_, true)) {
    json += "\"role\":\"assistant\"";
    is_first = false;
  }
  append_field("reasoning_content", reasoning_);
  append_field("content", content_);
  if (!calls_.empty()) {
    if (!is_first) json += ',';
    append_calls(json);
  }
  json += '}';
}

void AnswerParts::append_message(std::string& json) {
  json += "\"message\":{\"role\":\"assistant\",\"content\":";
  if (content_.empty() && !calls_.empty()) {
    json += "null";
  } else {
    append_json_string(json, content_);
  }
  if (!reasoning_.empty()) {
    json += ",\"reasoning_content\":";
    append_json_string(json, reasoning_);
  }
  if (!calls_.empty()) {
    json += ',';
    append_calls(json);
  }
  json += '}';
}

std::string AnswerParts::take_choice(std::string_view finish_reason) {
  std::string json;
  json.reserve(96 + content_.size() + reasoning_.size());
  json += "{\"index\":";
  append_json_integer(json, choice_index_);
  json += ',';
  if (kind_ == AnswerKind::kCompletion) {
    json += "\"text\":";
    append_json_string(json, content_);
    content_.clear();
  } else if (is_streamed_) {
    append_delta(json);
  } else {
    append_message(json);
  }
  json += ",\"logprobs\":";
  if (logprobs_) {
    logprobs_->take(json);
  } else {
    json += "null";
  }
  json += ",\"finish_reason\":";
  if (finish_reason.empty()) {
    json += "null";
  } else {
    append_json_string(json, finish_reason);
  }
  json += '}';
  return json;
}

std::size_t AnswerParts::num_bytes() const {
  std::size_t num_bytes = content_.capacity() + reasoning_.capacity();
  for (const Call& call : calls_)
    num_bytes += sizeof call + call.name.capacity() + call.arguments.capacity();
  return num_bytes + (logprobs_ ? logprobs_->num_bytes() : 0);
}

}  // namespace dsl::serving
