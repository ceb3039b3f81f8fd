#include <gtest/gtest.h>

#include <random>

#include "engine/text/detokenizer.h"
#include "engine/text/stop_matcher.h"
#include "tests/unit/text/test_assets.h"

namespace dsl::text {
namespace {

TEST(Detokenizer, NeverEmitsHalfACharacter) {
  const std::string text = "a é 中 😶‍🌫️ Führer 你好";
  for (const Tokenizer* tokenizer : {&v3_tokenizer(), &v2_tokenizer(), &demo_tokenizer()}) {
    Detokenizer detokenizer(*tokenizer, SpecialText::kShow);
    std::string streamed;
    const auto ids = tokenizer->encode(text);
    ASSERT_TRUE(ids.has_value());
    for (const std::int32_t id : *ids) {
      const std::string part = detokenizer.push(id);
      EXPECT_EQ(find_invalid_utf8(part), std::nullopt);
      streamed += part;
    }
    EXPECT_EQ(streamed + detokenizer.finish(), text);
  }
}

TEST(Detokenizer, RandomIdsStreamToWhatDecodeGives) {
  std::mt19937 random(3);  // seed 3
  const Tokenizer& tokenizer = v3_tokenizer();
  for (int round = 0; round < 500; ++round) {
    Detokenizer detokenizer(tokenizer, SpecialText::kShow);
    std::vector<std::int32_t> ids;
    std::string streamed;
    for (int i = 0; i < 30; ++i) {
      // Mostly single bytes, which seldom make whole characters; also ids without a token.
      ids.push_back(static_cast<std::int32_t>(random() % (i % 3 == 0 ? 129280 : 260)));
      streamed += detokenizer.push(ids.back());
    }
    streamed += detokenizer.finish();
    EXPECT_EQ(streamed, tokenizer.decode(ids));
    EXPECT_EQ(find_invalid_utf8(streamed), std::nullopt);
  }
}

TEST(Detokenizer, SkipsSpecialTokensOnly) {
  const std::vector<std::int32_t> ids = {0, 19923, 128803, 1};
  EXPECT_EQ(v3_tokenizer().decode(ids, SpecialText::kSkip), "Hello<｜User｜>");
  EXPECT_EQ(v3_tokenizer().decode(ids, SpecialText::kShow),
            "<｜begin▁of▁sentence｜>Hello<｜User｜><｜end▁of▁sentence｜>");
}

TEST(Utf8Stream, ReplacesEachMaximalInvalidPartOnce) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.push("\x98\x80"), "😀");
  EXPECT_EQ(stream.push("\xE4\xB8x\xFF\x80"), "\xEF\xBF\xBDx\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(stream.push("\xC3"), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
}

struct Streamed {
  std::string text;
  std::optional<std::size_t> matched;
};

Streamed run_stops(const std::vector<std::string>& stops, const std::string& text,
                   std::mt19937& random) {
  auto matcher = StopMatcher::create(stops);
  EXPECT_TRUE(matcher.has_value());
  Streamed result;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t size = std::min<std::size_t>(1 + random() % 4, text.size() - i);
    result.text += matcher->push(std::string_view(text).substr(i, size));
    i += size;
  }
  result.text += matcher->finish();
  result.matched = matcher->matched();
  return result;
}

/// The definition, without streaming: the stop that completes first, the longest of several.
Streamed by_definition(const std::vector<std::string>& stops, const std::string& text) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      if (!std::string_view(text).substr(0, end).ends_with(stops[i])) continue;
      if (!best || stops[i].size() > stops[*best].size()) best = i;
    }
    if (best) return {text.substr(0, end - stops[*best].size()), best};
  }
  return {text, std::nullopt};
}

TEST(StopMatcher, FindsWhatTheDefinitionFindsHoweverTheTextIsCut) {
  std::mt19937 random(5);  // seed 5
  for (int round = 0; round < 5000; ++round) {
    const auto word = [&](std::size_t size) {
      std::string text;
      for (std::size_t i = 0; i < size; ++i) text += "ab\n"[random() % 3];
      return text;
    };
    std::vector<std::string> stops;
    for (std::size_t i = 0; i < random() % 4; ++i) stops.push_back(word(1 + random() % 5));
    const std::string text = word(random() % 20);
    const Streamed streamed = run_stops(stops, text, random);
    const Streamed expected = by_definition(stops, text);
    EXPECT_EQ(streamed.text, expected.text);
    EXPECT_EQ(streamed.matched, expected.matched);
  }
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  auto matcher = StopMatcher::create({"\n\nUser:"});
  EXPECT_EQ(matcher->push("Hello\n"), "Hello");
  EXPECT_EQ(matcher->push("\nUs"), "");
  EXPECT_EQ(matcher->push("er "), "\n\nUser ");
  EXPECT_EQ(matcher->push("x\n\nUser: y"), "x");
  EXPECT_EQ(matcher->matched(), 0u);
  EXPECT_EQ(matcher->push("more"), "");
  EXPECT_EQ(matcher->finish(), "");
}

TEST(StopMatcher, RefusesEmptyOrInvalidStrings) {
  EXPECT_EQ(StopMatcher::create({"a", ""}).error().code, ErrorCode::kRequestInvalid);
  EXPECT_EQ(StopMatcher::create({"\xFF"}).error().code, ErrorCode::kRequestInvalid);
  EXPECT_EQ(StopMatcher::create({std::string(100000, 'a')}).error().code,
            ErrorCode::kRequestInvalid);
}

}  // namespace
}  // namespace dsl::text
