#include "engine/serving/text_service/answer_logprobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "engine/serving/text_service/json_text.h"
#include "engine/text/utf8.h"

namespace dsl::serving {
namespace {

/// JSON has no infinities; OpenAI uses this number too.
float finite(float logprob) { return std::max(logprob, -9999.0f); }

void separate(std::string& list) {
  if (!list.empty()) list += ',';
}

}  // namespace

void AnswerLogprobs::add(const sampling::SampledToken& token, std::size_t first_byte,
                         std::int64_t text_offset) {
  undecided_.push_back({token, first_byte, text_offset});
}

void AnswerLogprobs::decide(std::size_t end, TextFate fate) {
  while (!undecided_.empty() && undecided_.front().first_byte < end) {
    write(undecided_.front(), fate);
    undecided_.pop_front();
  }
}

void AnswerLogprobs::write(const Entry& entry, TextFate fate) {
  if (fate == TextFate::kDropped) return;
  ++num_entries_;
  if (kind_ == AnswerKind::kCompletion) return write_for_completion(entry);
  write_for_chat(entry.token, fate == TextFate::kContent ? content_ : reasoning_);
}

std::string_view AnswerLogprobs::piece(std::int32_t token_id) const {
  return tokenizer_.id_to_piece(token_id).value_or("");
}

void AnswerLogprobs::append_bytes_of(std::int32_t token_id, std::string& json) const {
  json += '[';
  const std::string_view bytes = piece(token_id);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) json += ',';
    append_json_integer(json, static_cast<unsigned char>(bytes[i]));
  }
  json += ']';
}

void AnswerLogprobs::write_for_chat(const sampling::SampledToken& token, std::string& list) const {
  const auto append = [&](std::int32_t id, float logprob) {
    list += "{\"token\":";
    append_json_string(list, piece(id));
    list += ",\"logprob\":";
    append_json_number(list, finite(logprob));
    list += ",\"bytes\":";
    append_bytes_of(id, list);
  };
  separate(list);
  append(token.token_id, token.logprob);
  list += ",\"top_logprobs\":[";
  for (std::size_t i = 0; i < token.top_logprobs.size(); ++i) {
    if (i > 0) list += ',';
    append(token.top_logprobs[i].token_id, token.top_logprobs[i].logprob);
    list += '}';
  }
  list += "]}";
}

void AnswerLogprobs::write_for_completion(const Entry& entry) {
  // Keys must tell tokens apart that are parts of characters, hence OpenAI's spelling of bytes.
  const auto append_token = [&](std::string& json, std::int32_t id) {
    const std::string_view bytes = piece(id);
    if (!text::find_invalid_utf8(bytes)) return append_json_string(json, bytes);
    std::string spelled = "bytes:";
    for (const char byte : bytes)
      spelled += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    append_json_string(json, spelled);
  };
  for (std::string* list : {&tokens_, &token_logprobs_, &top_logprobs_, &text_offsets_})
    separate(*list);
  append_token(tokens_, entry.token.token_id);
  append_json_number(token_logprobs_, finite(entry.token.logprob));
  top_logprobs_ += '{';
  for (std::size_t i = 0; i < entry.token.top_logprobs.size(); ++i) {
    if (i > 0) top_logprobs_ += ',';
    append_token(top_logprobs_, entry.token.top_logprobs[i].token_id);
    top_logprobs_ += ':';
    append_json_number(top_logprobs_, finite(entry.token.top_logprobs[i].logprob));
  }
  top_logprobs_ += '}';
  append_json_integer(text_offsets_, entry.text_offset);
}

void AnswerLogprobs::take(std::string& json) {
  if (std::exchange(num_entries_, 0) == 0) {
    json += "null";
    return;
  }
  const auto take_list = [&](std::string_view head, std::string& list) {
    json += head;
    json += std::exchange(list, {});
    json += ']';
  };
  if (kind_ == AnswerKind::kChat) {
    take_list("{\"content\":[", content_);
    if (!reasoning_.empty()) take_list(",\"reasoning_content\":[", reasoning_);
  } else {
    take_list("{\"tokens\":[", tokens_);
    take_list(",\"token_logprobs\":[", token_logprobs_);
    take_list(",\"top_logprobs\":[", top_logprobs_);
    take_list(",\"text_offset\":[", text_offsets_);
  }
  json += '}';
}

std::size_t AnswerLogprobs::num_bytes() const {
  std::size_t num_bytes = 0;
  for (const std::string* list :
       {&content_, &reasoning_, &tokens_, &token_logprobs_, &top_logprobs_, &text_offsets_})
    num_bytes += list->capacity();
  for (const Entry& entry : undecided_)
    num_bytes +=
        sizeof entry + entry.token.top_logprobs.capacity() * sizeof(sampling::TokenLogprob);
  return num_bytes;
}

}  // namespace dsl::serving
