// What the text half of serving knows of a model: tokenizer, chat template, limits, defaults.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "transport/base/error.h"

namespace dsl::serving {

struct ServedModelOptions {
  std::string served_model_name;        // what requests call it; empty: the folder's name
  std::int64_t max_context_tokens = 0;  // 0: max_position_embeddings of config.json
};

struct ModelText;  // model_text.h

/// Immutable, thread-safe; shared by preprocessor and answers.
class ServedModel {
 public:
  /// Reads config.json, tokenizer.json, and where they are there tokenizer_config.json,
  /// chat_template.jinja and generation_config.json. Errors as of text::Tokenizer and
  /// text::ChatTemplate; kModelConfig.
  static Result<std::shared_ptr<const ServedModel>> load(const std::filesystem::path& model_dir,
                                                         ServedModelOptions options);
  ~ServedModel();

  const std::string& name() const { return name_; }
  std::int64_t max_context_tokens() const { return max_context_tokens_; }
  const ModelText& text() const { return *text_; }

 private:
  ServedModel();

  std::string name_;
  std::int64_t max_context_tokens_ = 0;
  std::unique_ptr<const ModelText> text_;
};

}  // namespace dsl::serving
