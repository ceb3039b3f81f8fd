// What the text half of serving knows of a model: tokenizer, chat template, limits, defaults.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>

#include "transport/base/error.h"

namespace dsl::serving {

struct ServedModelOptions {
  std::string served_model_name;        // what requests call it; empty: the folder's name
  std::int64_t max_context_tokens = 0;  // 0: max_position_embeddings of config.json
};

struct ModelText;  // model_text.h

/// Thread-safe, and immutable but for the context; shared by preprocessor and answers.
class ServedModel {
 public:
  /// Reads config.json, tokenizer.json, and where they are there tokenizer_config.json,
  /// chat_template.jinja and generation_config.json. Errors as of text::Tokenizer and
  /// text::ChatTemplate; kModelConfig.
  static Result<std::shared_ptr<const ServedModel>> load(const std::filesystem::path& model_dir,
                                                         ServedModelOptions options);
  ~ServedModel();

  const std::string& name() const { return name_; }
  /// Of prompt and answer: what the model and options allow, or less where engines hold less.
  std::int64_t max_context_tokens() const {
    return std::min(max_context_tokens_, engine_context_tokens_.load(std::memory_order_relaxed));
  }
  /// What the engines hold of one request, from whoever has asked them.
  void set_engine_context(std::int64_t tokens) const {
    engine_context_tokens_.store(tokens, std::memory_order_relaxed);
  }
  const ModelText& text() const { return *text_; }

 private:
  ServedModel();

  std::string name_;
  std::int64_t max_context_tokens_ = 0;
  mutable std::atomic<std::int64_t> engine_context_tokens_ =
      std::numeric_limits<std::int64_t>::max();
  std::unique_ptr<const ModelText> text_;
};

}  // namespace dsl::serving
