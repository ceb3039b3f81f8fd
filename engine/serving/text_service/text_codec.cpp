#include "engine/serving/text_service/text_codec.h"

namespace dsl::serving {
namespace {

tl::unexpected<Error> no_tokenizer() {
  return fail(ErrorCode::kNotFound, "send token_ids, or put tokenizer.json beside the weights",
              "this model has no tokenizer.json, so it takes and gives token ids only");
}

/// Keeps a loaded part; a part that is not there is no error.
template <typename T>
Status keep_if_there(Result<T> loaded, std::optional<T>& part) {
  if (loaded) {
    part.emplace(*std::move(loaded));
  } else if (loaded.error().code != ErrorCode::kNotFound) {
    return tl::unexpected<Error>(std::move(loaded).error());
  }
  return {};
}

}  // namespace

Result<TextCodec> TextCodec::load(const std::filesystem::path& model_dir) {
  TextCodec codec;
  DSL_TRY(keep_if_there(text::Tokenizer::load(model_dir), codec.tokenizer_));
  DSL_TRY(keep_if_there(text::ChatTemplate::load(model_dir), codec.chat_template_));
  return codec;
}

Result<std::vector<std::int32_t>> TextCodec::encode_text(std::string_view prompt) const {
  if (!tokenizer_) return no_tokenizer();
  text::EncodeOptions options;
  options.post_processing = text::PostProcessing::kApply;
  return tokenizer_->encode(prompt, options);
}

Result<std::vector<std::int32_t>> TextCodec::encode_chat(
    std::span<const text::ChatMessage> messages, const text::RenderOptions& options) const {
  if (!tokenizer_) return no_tokenizer();
  if (!chat_template_) {
    return fail(ErrorCode::kNotFound, "send a prompt instead of messages",
                "this model has no chat_template in tokenizer_config.json");
  }
  DSL_ASSIGN(const text::Prompt prompt, chat_template_->render(messages, options));
  return tokenizer_->encode_prompt(prompt);
}

Result<std::optional<TextStream>> TextCodec::open_stream(
    std::vector<std::string> stop_strings) const {
  if (!tokenizer_) {
    if (!stop_strings.empty()) return no_tokenizer();
    return std::optional<TextStream>();
  }
  DSL_ASSIGN(text::StopMatcher stops, text::StopMatcher::create(std::move(stop_strings)));
  return std::optional<TextStream>(
      TextStream(text::Detokenizer(*tokenizer_, text::SpecialText::kSkip), std::move(stops)));
}

}  // namespace dsl::serving
