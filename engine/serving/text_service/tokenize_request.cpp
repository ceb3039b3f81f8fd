// POST /tokenize and POST /detokenize, as vLLM has them.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/chat_prompt.h"
#include "engine/serving/text_service/model_text.h"
#include "engine/serving/text_service/preprocessor.h"
#include "engine/serving/text_service/request_fields.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::string to_body(const ordered_json& object) {
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

Result<std::vector<std::int32_t>> encode_text(RequestReader& reader, const ServedModel& model) {
  DSL_ASSIGN(const auto prompt, reader.text("prompt"));
  DSL_ASSIGN(const bool adds_special, reader.boolean("add_special_tokens", true));
  if (!prompt) return reader.wrong("prompt", "a string, or messages instead");
  text::EncodeOptions options;
  if (adds_special) options.post_processing = text::PostProcessing::kApply;
  return model.text().tokenizer.encode(*prompt, options);
}

Result<std::vector<std::int32_t>> encode_messages(RequestReader& reader, std::string_view body,
                                                  const ServedModel& model) {
  if (reader.has("prompt")) return reader.refuse("prompt", "goes without messages only");
  DSL_ASSIGN(const bool adds_prompt, reader.boolean("add_generation_prompt", true));
  DSL_ASSIGN(ChatPromptTokens prompt,
             encode_chat(reader, body, model,
                         adds_prompt ? GenerationPrompt::kAdd : GenerationPrompt::kLeaveOut));
  return std::move(prompt.token_ids);
}

}  // namespace

Result<std::string> Preprocessor::tokenize(std::string_view body) const {
  DSL_ASSIGN(const json document, parse_body(body));
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "", kRequestRemedy));
  DSL_TRY(read_model(reader, *model_, ModelField::kOptional));
  DSL_ASSIGN(const std::vector<std::int32_t> ids, reader.has("messages")
                                                      ? encode_messages(reader, body, *model_)
                                                      : encode_text(reader, *model_));
  DSL_ASSIGN(const bool wants_pieces, reader.boolean("return_token_strs", false));
  ordered_json answer{{"count", ids.size()},
                      {"max_model_len", model_->max_context_tokens()},
                      {"tokens", ids},
                      {"token_strs", nullptr}};
  if (wants_pieces) {
    ordered_json pieces = ordered_json::array();
    for (const std::int32_t id : ids)
      pieces.push_back(model_->text().tokenizer.id_to_piece(id).value_or(""));
    answer["token_strs"] = std::move(pieces);
  }
  return to_body(answer);
}

Result<std::string> Preprocessor::detokenize(std::string_view body) const {
  DSL_ASSIGN(const json document, parse_body(body));
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "", kRequestRemedy));
  DSL_TRY(read_model(reader, *model_, ModelField::kOptional));
  if (!reader.has("tokens")) return reader.wrong("tokens", "a list of token ids");
  DSL_ASSIGN(const std::vector<std::int32_t> ids, reader.token_ids("tokens"));
  const auto stranger = std::find_if(
      ids.begin(), ids.end(), [&](std::int32_t id) { return id >= model_->text().vocab_size; });
  if (stranger != ids.end()) {
    return reader.refuse("tokens", fmt::format("expected token ids below {}, found {}",
                                               model_->text().vocab_size, *stranger));
  }
  return to_body({{"prompt", model_->text().tokenizer.decode(ids)}});
}

}  // namespace dsl::serving
