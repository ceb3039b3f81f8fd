#include "tests/e2e/demo_model.h"

#include <stdexcept>
#include <utility>

namespace dsl::testing {
namespace {

template <typename T>
T value_or_throw(Result<T> result) {
  if (!result.has_value()) throw std::runtime_error(result.error().to_string());
  return *std::move(result);
}

}  // namespace

std::filesystem::path demo_dir() { return std::filesystem::path(DSL_TEST_DATA_DIR) / "demo_model"; }

DemoModel::DemoModel(const std::filesystem::path& model_dir)
    : chat_(value_or_throw(text::ChatTemplate::load(model_dir))),
      tokenizer_(value_or_throw(text::Tokenizer::load(model_dir))) {}

std::vector<std::int32_t> DemoModel::prompt(const std::string& question) const {
  text::ChatMessage message;
  message.role = "user";
  message.content = question;
  return value_or_throw(tokenizer_.encode_prompt(value_or_throw(chat_.render({&message, 1}))));
}

std::string DemoModel::text(std::span<const std::int32_t> token_ids) const {
  return tokenizer_.decode(token_ids);
}

}  // namespace dsl::testing
