// Zero mismatches against Hugging Face: thousands of strings under three tokenizers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/unit/text/test_assets.h"

namespace dsl::text {
namespace {

using Ids = std::vector<std::int32_t>;

void expect_ids(const Tokenizer& tokenizer, const std::string& text, const Ids& expected) {
  const auto ids = tokenizer.encode(text, {.special_tokens = SpecialTokens::kParse});
  ASSERT_TRUE(ids.has_value()) << ids.error().to_string();
  EXPECT_EQ(*ids, expected) << "text: " << text;
}

TEST(TokenizerGolden, V3AndDemoGiveTheReferenceIds) {
  std::istringstream lines(
      test::read_compressed(kTestData / "reference/tokenizer_goldens/goldens.jsonl.gz"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto golden = nlohmann::json::parse(line);
    const auto text = golden["text"].get<std::string>();
    expect_ids(v3_tokenizer(), text, golden["v3"].get<Ids>());
    expect_ids(demo_tokenizer(), text, golden["demo"].get<Ids>());
  }
  EXPECT_GE(count, 3000);
}

TEST(TokenizerGolden, CharactersNewerThanTheRegexLibraryAreCutAsTheReferenceCutsThem) {
  std::istringstream lines(
      test::read_compressed(kTestData / "reference/tokenizer_goldens/newer_unicode.jsonl.gz"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto golden = nlohmann::json::parse(line);
    const auto text = golden["text"].get<std::string>();
    expect_ids(v3_tokenizer(), text, golden["v3"].get<Ids>());
    expect_ids(v2_tokenizer(), text, golden["v2"].get<Ids>());
  }
  EXPECT_GE(count, 500);
}

TEST(TokenizerGolden, V2GivesTheOriginalIds) {
  const auto goldens = nlohmann::json::parse(
      *read_text_file(kTestData / "assets/tokenizers/deepseek-v2-style/goldens.json"));
  for (const auto& golden : goldens) {
    expect_ids(v2_tokenizer(), golden["text"].get<std::string>(), golden["ids"].get<Ids>());
  }
  EXPECT_EQ(goldens.size(), 47u);
}

}  // namespace
}  // namespace dsl::text
