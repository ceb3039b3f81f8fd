// The demo model's directories and its chat format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace dsl::testing {

/// tests/demo_model.
std::filesystem::path demo_dir();

/// The text side of one of the demo checkpoints.
class DemoModel {
 public:
  /// Throws when the checkpoint's text files cannot be read.
  explicit DemoModel(const std::filesystem::path& model_dir);

  /// Token ids of a conversation that begins with `question`, ready for the reply.
  std::vector<std::int32_t> prompt(const std::string& question) const;
  std::string text(std::span<const std::int32_t> token_ids) const;

 private:
  text::ChatTemplate chat_;
  text::Tokenizer tokenizer_;
};

}  // namespace dsl::testing
