// POST /v1/completions.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/model_text.h"
#include "engine/serving/text_service/preprocessor.h"
#include "engine/serving/text_service/request_fields.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::int64_t kDefaultMaxTokens = 16;  // OpenAI's

constexpr Unsupported kUnsupportedInCompletion[] = {
    {"suffix", nullptr, "text behind the answer is not supported"},
    {"tools", nullptr, "tools go with /v1/chat/completions"},
    {"prompt_embeds", nullptr, "prompts are text or token ids"},
};

/// A prompt in one of its forms.
struct TextOrTokens {
  std::string text;
  std::vector<std::int32_t> token_ids;  // used when is_tokens
  bool is_tokens = false;
};

Result<TextOrTokens> read_one(RequestReader& reader, const json& value) {
  if (value.is_string()) return TextOrTokens{value.get<std::string>(), {}, false};
  if (auto ids = token_ids_of(value)) return TextOrTokens{{}, *std::move(ids), true};
  return reader.wrong("prompt", "a string, a list of strings, token ids or lists of token ids");
}

Result<std::vector<TextOrTokens>> read_prompts(RequestReader& reader) {
  const json* value = reader.find("prompt");
  if (value == nullptr) return reader.wrong("prompt", "a string");
  std::vector<TextOrTokens> prompts;
  const bool is_list = value->is_array() && !value->empty() &&
                       (value->front().is_string() || value->front().is_array());
  if (!is_list) {
    DSL_ASSIGN(TextOrTokens prompt, read_one(reader, *value));
    prompts.push_back(std::move(prompt));
    return prompts;
  }
  if (value->size() > static_cast<std::size_t>(kMaxChoices))
    return reader.wrong("prompt", fmt::format("at most {} prompts", kMaxChoices));
  for (const json& element : *value) {
    DSL_ASSIGN(TextOrTokens prompt, read_one(reader, element));
    if (prompt.is_tokens != value->front().is_array())
      return reader.wrong("prompt", "prompts that are all text or all token ids");
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

Status encode(RequestReader& reader, const ServedModel& model, text::PostProcessing processing,
              TextOrTokens& prompt) {
  const ModelText& text = model.text();
  if (prompt.is_tokens) {
    const auto stranger = std::find_if(prompt.token_ids.begin(), prompt.token_ids.end(),
                                       [&](std::int32_t id) { return id >= text.vocab_size; });
    if (stranger == prompt.token_ids.end()) return {};
    return reader.refuse(
        "prompt", fmt::format("expected token ids below {}, found {}", text.vocab_size, *stranger));
  }
  DSL_TRY(check_text_size(prompt.text.size(), model, "prompt"));
  text::EncodeOptions options;
  options.post_processing = processing;
  DSL_ASSIGN(prompt.token_ids, text.tokenizer.encode(prompt.text, options));
  return {};
}

std::string echo_of(const TextOrTokens& prompt, const ModelText& model) {
  return prompt.is_tokens ? model.tokenizer.decode(prompt.token_ids, text::SpecialText::kSkip)
                          : prompt.text;
}

}  // namespace

Result<PreparedRequest> Preprocessor::prepare_completion(std::string_view body) const {
  DSL_ASSIGN(const json document, parse_body(body));
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "", kRequestRemedy));
  DSL_ASSIGN(RequestFields fields, read_request_fields(reader, *model_));
  if (fields.max_tokens == 0) fields.max_tokens = kDefaultMaxTokens;
  DSL_TRY(refuse_unsupported(reader, kUnsupportedInCompletion));
  DSL_ASSIGN(const std::int64_t logprobs, reader.integer("logprobs", -1, 0, kMaxLogprobs));
  fields.sampling.num_logprobs = static_cast<std::int32_t>(logprobs);
  DSL_ASSIGN(const bool is_echoed, reader.boolean("echo", false));
  if (is_echoed && logprobs >= 0)
    return reader.refuse("echo", "log probabilities of the prompt are not supported");
  DSL_ASSIGN(const bool adds_special, reader.boolean("add_special_tokens", true));
  DSL_ASSIGN(std::vector<TextOrTokens> prompts, read_prompts(reader));
  if (static_cast<std::int64_t>(prompts.size()) * fields.num_choices > kMaxChoices)
    return reader.refuse("n", fmt::format("prompts times n must be at most {}", kMaxChoices));

  std::vector<PromptTokens> tokens;
  for (TextOrTokens& prompt : prompts) {
    DSL_TRY(encode(reader, *model_,
                   adds_special ? text::PostProcessing::kApply : text::PostProcessing::kSkip,
                   prompt));
    DSL_TRY(check_context(static_cast<std::int64_t>(prompt.token_ids.size()), fields.max_tokens,
                          *model_, "prompt"));
    AnswerFormat format;
    if (is_echoed) format.echo_text = echo_of(prompt, model_->text());
    tokens.push_back(
        {std::make_shared<const std::vector<std::int32_t>>(std::move(prompt.token_ids)),
         std::move(format)});
  }
  return assemble(AnswerKind::kCompletion, std::move(fields), std::move(tokens));
}

}  // namespace dsl::serving
