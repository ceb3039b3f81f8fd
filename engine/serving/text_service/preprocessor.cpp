#include "engine/serving/text_service/preprocessor.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/serving/text_service/chat_prompt.h"
#include "engine/serving/text_service/model_text.h"
#include "engine/serving/text_service/request_fields.h"
#include "engine/serving/text_service/tool_prompt.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr Unsupported kUnsupportedInChat[] = {
    {"echo", "false", "echo goes with /v1/completions"},
    {"add_generation_prompt", "true", "the answer is always the assistant's"},
    {"modalities", R"(["text"])", "this model writes text only"},
    {"audio", nullptr, "this model writes text only"},
    {"prediction", nullptr, "predicted outputs are not supported"},
    {"web_search_options", nullptr, "this service does not search"},
    {"include_reasoning", "true", "reasoning is always part of the answer"},
};

/// Chat asks with a flag and a number of alternatives.
Status read_logprobs(RequestReader& reader, RequestFields& fields) {
  DSL_ASSIGN(const bool wants_logprobs, reader.boolean("logprobs", false));
  DSL_ASSIGN(const std::int64_t num_top, reader.integer("top_logprobs", 0, 0, kMaxLogprobs));
  if (num_top > 0 && !wants_logprobs)
    return reader.refuse("top_logprobs", "goes with \"logprobs\": true only");
  fields.sampling.num_logprobs = wants_logprobs ? static_cast<std::int32_t>(num_top) : -1;
  return {};
}

/// A choice that has to be a call begins with one. That closes the door to reasoning first.
Status force_call(RequestReader& reader, const ModelText& model, ChatPromptTokens& prompt,
                  AnswerFormat& format) {
  if (!format.lead_token_ids.empty()) {
    return reader.refuse("tool_choice",
                         "a call cannot be forced while the model reasons first; use auto, or "
                         "turn reasoning off in chat_template_kwargs where the model can");
  }
  DSL_ASSIGN(format.lead_token_ids, forced_call_head(prompt.tools, model));
  prompt.token_ids.insert(prompt.token_ids.end(), format.lead_token_ids.begin(),
                          format.lead_token_ids.end());
  return {};
}

}  // namespace

Preprocessor::Preprocessor(std::shared_ptr<const ServedModel> model) : model_(std::move(model)) {}

Result<PreparedRequest> Preprocessor::prepare_chat(std::string_view body) const {
  DSL_ASSIGN(const json document, parse_body(body));
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "", kRequestRemedy));
  DSL_ASSIGN(RequestFields fields, read_request_fields(reader, *model_));
  DSL_TRY(refuse_unsupported(reader, kUnsupportedInChat));
  DSL_TRY(read_logprobs(reader, fields));
  DSL_ASSIGN(ChatPromptTokens prompt, encode_chat(reader, body, *model_, GenerationPrompt::kAdd));

  AnswerFormat format;
  format.splits_reasoning = model_->text().markers.has_reasoning();
  format.lead_token_ids = open_reasoning(prompt.token_ids, *model_);
  const ToolFields& tools = prompt.tools;
  if (tools.is_active()) {
    format.tool_dialect = model_->text().habits.tool_dialect;
    if (!tools.is_parallel || tools.choice == ToolChoice::kNamed) format.max_tool_calls = 1;
    if (tools.choice != ToolChoice::kAuto)
      DSL_TRY(force_call(reader, model_->text(), prompt, format));
  }
  DSL_TRY(check_context(static_cast<std::int64_t>(prompt.token_ids.size()), fields.max_tokens,
                        *model_, "messages"));
  auto tokens = std::make_shared<const std::vector<std::int32_t>>(std::move(prompt.token_ids));
  return assemble(AnswerKind::kChat, std::move(fields), {{std::move(tokens), std::move(format)}});
}

}  // namespace dsl::serving
