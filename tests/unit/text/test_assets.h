// The tokenizers and goldens that the text tests share.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "engine/text/file.h"
#include "engine/text/tokenizer.h"
#include "tests/assets/compressed_file.h"

namespace dsl::text {

inline const std::filesystem::path kTestData = DSL_TEST_DATA_DIR;

/// A tokenizer of tests/assets/tokenizers.
inline Tokenizer load_asset(const std::string& name) {
  const auto folder = kTestData / "assets/tokenizers" / name;
  const std::string config = read_text_file(folder / "tokenizer_config.json").value_or("");
  auto tokenizer =
      Tokenizer::parse(test::read_compressed(folder / "tokenizer.json.xz"), config, name);
  DSL_CHECK(tokenizer.has_value(), "{}", tokenizer.error().to_string());
  return *std::move(tokenizer);
}

inline const Tokenizer& v3_tokenizer() {
  static const Tokenizer tokenizer = load_asset("deepseek-v3");
  return tokenizer;
}

inline const Tokenizer& v2_tokenizer() {
  static const Tokenizer tokenizer = load_asset("deepseek-v2-style");
  return tokenizer;
}

inline const Tokenizer& demo_tokenizer() {
  static const Tokenizer tokenizer = [] {
    auto loaded = Tokenizer::load(kTestData / "demo_model/arith-bf16");
    DSL_CHECK(loaded.has_value(), "{}", loaded.error().to_string());
    return *std::move(loaded);
  }();
  return tokenizer;
}

}  // namespace dsl::text
