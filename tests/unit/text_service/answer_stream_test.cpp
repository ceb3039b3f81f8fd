// Reasoning, tool calls, stop strings and log probabilities of answers in the models' formats.
#include "engine/serving/text_service/answer_stream.h"

#include <gmock/gmock.h>

#include "engine/serving/text_service/model_text.h"
#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using test::r1_model;
using test::SharedModel;
using test::streamed;
using test::tokens_of;
using test::v3_1_model;
using test::v3_model;
using test::whole;
using testing::ElementsAre;

AnswerFormat chat(ToolDialect dialect = ToolDialect::kNone) {
  AnswerFormat format;
  format.splits_reasoning = true;
  format.tool_dialect = dialect;
  format.tool_call_id_key = 7;
  return format;
}

AnswerFormat reasoning_chat(const SharedModel& model) {
  AnswerFormat format = chat();
  format.lead_token_ids = tokens_of(*model, "<think>\n");
  return format;
}

json answer(const SharedModel& model, const AnswerFormat& format, std::string_view text,
            AnswerEnd end = AnswerEnd::kStop) {
  return streamed(model, format, tokens_of(*model, text), end);
}

constexpr std::string_view kFencedCall =
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```"
    "<｜tool▁call▁end｜>";
constexpr std::string_view kBareCall =
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜>";

TEST(Reasoning, IsSplitFromContentWhereThePromptOpenedIt) {
  const json got =
      answer(r1_model(), reasoning_chat(r1_model()),
             "Step one.\nStep two.\n</think>\n\nThe answer is 7.<｜end▁of▁sentence｜>");
  EXPECT_EQ(got["role"], "assistant");
  EXPECT_EQ(got["reasoning_content"], "Step one.\nStep two.");
  EXPECT_EQ(got["content"], "The answer is 7.");
  EXPECT_EQ(got["finish_reason"], "stop");
}

TEST(Reasoning, MayBeOpenedByTheModel) {
  const json got = answer(v3_model(), chat(), "<think>\nhm\n</think>\nyes");
  EXPECT_EQ(got["reasoning_content"], "hm");
  EXPECT_EQ(got["content"], "yes");
}

TEST(Reasoning, MarkersElsewhereAreText) {
  const json got = answer(v3_1_model(), chat(), "a <think> b </think> c");
  EXPECT_FALSE(got.contains("reasoning_content"));
  EXPECT_EQ(got["content"], "a <think> b </think> c");
}

TEST(Reasoning, MarkersSpelledWithOrdinaryTokensAreText) {
  const SharedModel model = r1_model();
  const std::vector<std::int32_t> ids = model->text().tokenizer.encode("x</think>y").value();
  const json got = streamed(model, reasoning_chat(model), ids);
  EXPECT_EQ(got["reasoning_content"], "x</think>y");
  EXPECT_FALSE(got.contains("content"));
}

TEST(Reasoning, ThatIsCutOffStaysReasoning) {
  const json got = answer(r1_model(), reasoning_chat(r1_model()), "one\n", AnswerEnd::kLength);
  EXPECT_EQ(got["reasoning_content"], "one\n");
  EXPECT_EQ(got["finish_reason"], "length");
}

TEST(Reasoning, TokensAreCounted) {
  const SharedModel model = r1_model();
  AnswerStream stream = AnswerStream::open(model, reasoning_chat(model)).value();
  const auto thought = tokens_of(*model, "7\n</think>");
  stream.push(test::sampled(thought));
  const AnswerUpdate update = stream.push(test::sampled(tokens_of(*model, "7")));
  EXPECT_EQ(update.num_reasoning_tokens, static_cast<std::int64_t>(thought.size()));
  EXPECT_EQ(update.num_completion_tokens, update.num_reasoning_tokens + 1);
}

TEST(ToolCalls, AreParsedInBothDialects) {
  for (const auto& [dialect, text] : {std::pair{ToolDialect::kFencedJson, kFencedCall},
                                      std::pair{ToolDialect::kBareJson, kBareCall}}) {
    const std::string block = std::string(text) + "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>";
    const json got = answer(v3_model(), chat(dialect), "Let me see.\n" + block);
    EXPECT_EQ(got["content"], "Let me see.");
    ASSERT_EQ(got["tool_calls"].size(), 1u);
    EXPECT_EQ(got["tool_calls"][0]["function"],
              (json{{"name", "add"}, {"arguments", "{\"a\": 1}"}}));
    EXPECT_EQ(got["tool_calls"][0]["type"], "function");
    EXPECT_EQ(got["finish_reason"], "tool_calls");
  }
}

TEST(ToolCalls, NeedNoEndOfTheBlock) {
  // The template of V3 and R1 leaves it out behind a single call.
  const json got = answer(v3_model(), chat(ToolDialect::kFencedJson), kFencedCall);
  EXPECT_EQ(got["tool_calls"].size(), 1u);
  EXPECT_FALSE(got.contains("content"));
  EXPECT_EQ(got["finish_reason"], "tool_calls");
}

TEST(ToolCalls, ComeInAnyNumberWithIdsOfTheirOwn) {
  std::string text(kFencedCall);
  text +=
      "\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>sub\n```json\n{}\n```<｜tool▁call▁end｜>"
      "<｜tool▁calls▁end｜>";
  const json got = answer(v3_model(), chat(ToolDialect::kFencedJson), text);
  ASSERT_EQ(got["tool_calls"].size(), 2u);
  EXPECT_EQ(got["tool_calls"][1]["function"]["name"], "sub");
  EXPECT_EQ(got["tool_calls"][1]["function"]["arguments"], "{}");
  EXPECT_NE(got["tool_calls"][0]["id"], got["tool_calls"][1]["id"]);
  // The ids are those of the request, not of the moment.
  EXPECT_EQ(got, answer(v3_model(), chat(ToolDialect::kFencedJson), text));
}

TEST(ToolCalls, ArgumentsKeepFencesAndBreaksInside) {
  const json got =
      answer(v3_model(), chat(ToolDialect::kFencedJson),
             "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
             "{\"code\": \"```\",\n \"x\": 1}\n```<｜tool▁call▁end｜>");
  EXPECT_EQ(got["tool_calls"][0]["function"]["arguments"], "{\"code\": \"```\",\n \"x\": 1}");
}

TEST(ToolCalls, ArgumentsStreamAsTheyCome) {
  const SharedModel model = v3_1_model();
  AnswerFormat format = chat(ToolDialect::kBareJson);
  format.is_streamed = true;
  AnswerStream stream = AnswerStream::open(model, format).value();
  const auto push = [&](std::string_view text) {
    return stream.push(test::sampled(tokens_of(*model, text))).choice_json;
  };
  EXPECT_EQ(push("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add"), "");
  const json first = json::parse(push("<｜tool▁sep｜>{\"a\":"));
  const json& call = first["delta"]["tool_calls"][0];
  EXPECT_EQ(call["index"], 0);
  EXPECT_EQ(call["function"], (json{{"name", "add"}, {"arguments", "{\"a\":"}}));
  const json second = json::parse(push("1}"));
  EXPECT_EQ(second["delta"],
            json::parse(R"({"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]})"));
}

TEST(ToolCalls, BehindReasoningThatWasNotClosed) {
  AnswerFormat format = reasoning_chat(r1_model());
  format.tool_dialect = ToolDialect::kFencedJson;
  const json got = answer(r1_model(), format, "I must add.\n" + std::string(kFencedCall));
  EXPECT_EQ(got["reasoning_content"], "I must add.");
  EXPECT_EQ(got["tool_calls"].size(), 1u);
}

TEST(ToolCalls, WithoutToolsAreText) {
  const json got = answer(v3_model(), chat(), kBareCall);
  EXPECT_EQ(got["content"], kBareCall);
  EXPECT_FALSE(got.contains("tool_calls"));
}

TEST(ToolCalls, ThatAreCutOffTellWhatTheyHave) {
  const json got = answer(v3_1_model(), chat(ToolDialect::kBareJson),
                          "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\"",
                          AnswerEnd::kLength);
  EXPECT_EQ(got["tool_calls"][0]["function"]["arguments"], "{\"a\"");
  EXPECT_EQ(got["finish_reason"], "length");
}

TEST(ToolCalls, StopAfterAsManyAsAllowed) {
  const SharedModel model = v3_1_model();
  AnswerFormat format = chat(ToolDialect::kBareJson);
  format.max_tool_calls = 1;
  AnswerStream stream = AnswerStream::open(model, format).value();
  const AnswerUpdate update = stream.push(
      test::sampled(tokens_of(*model, std::string(kBareCall) + "<｜tool▁call▁begin｜>x")));
  EXPECT_TRUE(update.is_stopped);
  const json choice = json::parse(stream.finish(AnswerEnd::kStop).choice_json);
  EXPECT_EQ(choice["message"]["tool_calls"].size(), 1u);
  EXPECT_TRUE(choice["message"]["content"].is_null());
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
}

TEST(ToolCalls, ContinueAForcedHead) {
  AnswerFormat format = chat(ToolDialect::kFencedJson);
  format.lead_token_ids =
      tokens_of(*v3_model(),
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n");
  const json got = answer(v3_model(), format, "{\"a\": 2}\n```<｜tool▁call▁end｜>");
  EXPECT_EQ(got["tool_calls"][0]["function"], (json{{"name", "add"}, {"arguments", "{\"a\": 2}"}}));
  EXPECT_FALSE(got.contains("content"));
}

class MalformedCalls : public testing::TestWithParam<const char*> {};

TEST_P(MalformedCalls, BecomeContentAndLoseNothing) {
  const json got = answer(v3_model(), chat(ToolDialect::kFencedJson), GetParam());
  EXPECT_EQ(got["content"], GetParam());
  EXPECT_FALSE(got.contains("tool_calls"));
  EXPECT_EQ(got["finish_reason"], "stop");
}

INSTANTIATE_TEST_SUITE_P(
    All, MalformedCalls,
    testing::Values(
        "a\n<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>words",
        "<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>", "<｜tool▁sep｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>code<｜tool▁sep｜>add\n",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁call▁end｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>\n```json\n{}",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{}\n```"));

TEST(StopStrings, EndContentBeforeThem) {
  const SharedModel model = v3_model();
  AnswerFormat format = chat();
  format.stop_strings = {"END"};
  AnswerStream stream = AnswerStream::open(model, format).value();
  const AnswerUpdate update = stream.push(test::sampled(tokens_of(*model, "one END two")));
  EXPECT_TRUE(update.is_stopped);
  EXPECT_LT(update.num_completion_tokens,
            static_cast<std::int64_t>(tokens_of(*model, "one END two").size()));
  const json choice = json::parse(stream.finish(AnswerEnd::kLength).choice_json);
  EXPECT_EQ(choice["message"]["content"], "one ");
  EXPECT_EQ(choice["finish_reason"], "stop");
}

TEST(StopStrings, DoNotLookAtReasoningOrLayout) {
  AnswerFormat format = reasoning_chat(r1_model());
  format.stop_strings = {"\n\n"};
  const json got = answer(r1_model(), format, "a\n\nb\n</think>\n\nc\n\nd");
  EXPECT_EQ(got["reasoning_content"], "a\n\nb");
  EXPECT_EQ(got["content"], "c");
}

TEST(StopTokens, AreNotPartOfTheText) {
  AnswerFormat format = chat();
  format.stop_token_ids = tokens_of(*v3_model(), "7");
  EXPECT_EQ(answer(v3_model(), format, "67")["content"], "6");
}

TEST(Text, NeverHoldsHalfACharacter) {
  const SharedModel model = v3_model();
  AnswerFormat format = chat();
  format.is_streamed = true;
  AnswerStream stream = AnswerStream::open(model, format).value();
  std::string content;
  for (const sampling::SampledToken& token : test::sampled(tokens_of(*model, "é 你好 🙂"))) {
    const std::string choice_json = stream.push({&token, 1}).choice_json;
    if (choice_json.empty()) continue;
    content += json::parse(choice_json)["delta"].value("content", "");  // throws for invalid UTF-8
  }
  EXPECT_EQ(content, "é 你好 🙂");
}

TEST(Logprobs, OfChatsHaveBytesAndGoWithTheirText) {
  const SharedModel model = r1_model();
  AnswerFormat format = reasoning_chat(model);
  format.wants_logprobs = true;
  const json got = answer(model, format, "12\n</think>\n34<｜end▁of▁sentence｜>");
  const json& content = got["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["token"], "3");
  EXPECT_THAT(content[0]["bytes"].get<std::vector<int>>(), ElementsAre('3'));
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(content[0]["top_logprobs"][0]["token"], "3");
  ASSERT_EQ(got["logprobs"]["reasoning_content"].size(), 2u);
  EXPECT_EQ(got["logprobs"]["reasoning_content"][1]["token"], "2");
}

TEST(Logprobs, OfHalfCharactersSpellTheirBytes) {
  const SharedModel model = v3_model();
  AnswerFormat format = chat();
  format.wants_logprobs = true;
  const json got = answer(model, format, "🙂");
  std::vector<int> bytes;
  for (const json& entry : got["logprobs"]["content"]) {
    for (const json& byte : entry["bytes"]) bytes.push_back(byte);
  }
  EXPECT_THAT(bytes, ElementsAre(0xF0, 0x9F, 0x99, 0x82));
}

TEST(Logprobs, OfCompletionsHaveOffsets) {
  AnswerFormat format;
  format.kind = AnswerKind::kCompletion;
  format.wants_logprobs = true;
  const json got = whole(v3_model(), format, tokens_of(*v3_model(), "é12"));
  EXPECT_EQ(got["text"], "é12");
  const json& logprobs = got["logprobs"];
  EXPECT_EQ(logprobs["tokens"].size(), logprobs["token_logprobs"].size());
  EXPECT_EQ(logprobs["tokens"].size(), logprobs["top_logprobs"].size());
  EXPECT_EQ(logprobs["text_offset"].front(), 0);
  EXPECT_EQ(logprobs["text_offset"].back(), 2);
}

TEST(Completions, KeepMarkersAndBeginWithTheEcho) {
  AnswerFormat format;
  format.kind = AnswerKind::kCompletion;
  format.echo_text = "Q: ";
  const json got = streamed(r1_model(), format, tokens_of(*r1_model(), "a</think>b\n"));
  EXPECT_EQ(got["text"], "Q: a</think>b\n");
  EXPECT_EQ(got["finish_reason"], "stop");
}

TEST(Whole, ChoicesAreMessages) {
  const SharedModel model = r1_model();
  const json got = whole(model, reasoning_chat(model), tokens_of(*model, "why\n</think>\nso"));
  EXPECT_EQ(got["index"], 0);
  EXPECT_EQ(got["message"],
            (json{{"role", "assistant"}, {"content", "so"}, {"reasoning_content", "why"}}));
  EXPECT_TRUE(got["logprobs"].is_null());
  EXPECT_EQ(got["finish_reason"], "stop");
}

}  // namespace
}  // namespace dsl::serving
