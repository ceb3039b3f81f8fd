// What gateway, text services and engines tell each other.
#include "engine/serving/text_service/text_json.h"

#include <gmock/gmock.h>

#include "engine/serving/text_service/answer_envelope.h"
#include "engine/serving/text_service/preprocessor.h"
#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

PreparedRequest prepared() {
  return Preprocessor(test::v3_model())
      .prepare_chat(R"({"model":"demo","messages":[{"role":"user","content":"é"}],"n":2,"seed":3,
        "stream":true,"stop":["\n"],"logit_bias":{"4":0.3},"temperature":0.7,"logprobs":true,
        "tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required"})")
      .value();
}

TEST(PreparedRequests, SurviveTheWire) {
  const PreparedRequest request = prepared();
  const PreparedRequest copy = parse_prepared_request(to_json(request)).value();
  EXPECT_EQ(copy.model, "demo");
  EXPECT_TRUE(copy.is_streamed);
  EXPECT_EQ(copy.num_prompt_tokens, request.num_prompt_tokens);
  ASSERT_EQ(copy.choices.size(), 2u);
  EXPECT_EQ(copy.choices[0].call.prompt_token_ids, copy.choices[1].call.prompt_token_ids);
  for (std::size_t i = 0; i < copy.choices.size(); ++i) {
    EXPECT_EQ(copy.choices[i].format, request.choices[i].format);
    EXPECT_EQ(to_engine_json(copy.choices[i].call, {}),
              to_engine_json(request.choices[i].call, {}));
  }
}

TEST(PreparedRequests, OfAnotherKindAreRefused) {
  for (const char* text : {"", "[]", "{}", R"({"kind":"chat","prompts":[],"choices":[]})",
                           R"({"kind":"chat","prompts":[[1]],"choices":[{"prompt":1}]})"}) {
    const auto request = parse_prepared_request(text);
    ASSERT_FALSE(request.has_value()) << text;
    EXPECT_EQ(request.error().code, ErrorCode::kProtocol);
  }
}

TEST(EngineCalls, AreTheEnginePortsRequests) {
  const PreparedRequest request = prepared();
  const std::vector<std::int32_t> emitted{8, 9};
  const json body =
      json::parse(to_engine_json(request.choices[1].call, {emitted, "team", -2, "req-1", "s-1"}));
  EXPECT_EQ(body["token_ids"].size(), request.choices[1].call.prompt_token_ids->size());
  EXPECT_EQ(body["emitted_token_ids"], (json{8, 9}));
  EXPECT_EQ(body["tenant"], "team");
  EXPECT_EQ(body["priority"], -2);
  EXPECT_EQ(body["request_id"], "req-1");
  EXPECT_EQ(body["stream_id"], "s-1");
  EXPECT_EQ(body["return_text"], false);
  EXPECT_FALSE(body.contains("max_tokens"));
  EXPECT_EQ(body["sampling"]["seed"], 4);
  EXPECT_EQ(body["sampling"]["logprobs"], 0);
  EXPECT_FLOAT_EQ(body["sampling"]["temperature"], 0.7f);
  EXPECT_FLOAT_EQ(body["sampling"]["logit_bias"]["4"], 0.3f);
  EXPECT_FALSE(body["sampling"].contains("stop"));  // stop strings are the answer stream's
}

TEST(Updates, SurviveTheWire) {
  const AnswerUpdate update{R"({"index":0,"delta":{"content":"é\n"}})", true, 5, 2};
  const AnswerUpdate copy = answer_update_of(json::parse(to_json(update))).value();
  EXPECT_EQ(copy.choice_json, update.choice_json);
  EXPECT_TRUE(copy.is_stopped);
  EXPECT_EQ(copy.num_completion_tokens, 5);
  EXPECT_EQ(copy.num_reasoning_tokens, 2);
}

TEST(Tokens, SurviveTheWire) {
  const std::vector<sampling::SampledToken> tokens = test::sampled({4, 5});
  const auto copy =
      sampled_tokens_of(json::parse("{" + token_fields(tokens, /*with_logprobs=*/true) + "}"));
  ASSERT_TRUE(copy.has_value());
  ASSERT_EQ(copy->size(), 2u);
  EXPECT_EQ((*copy)[1].token_id, 5);
  EXPECT_EQ((*copy)[1].logprob, tokens[1].logprob);
  EXPECT_EQ((*copy)[1].top_logprobs[1].token_id, tokens[1].top_logprobs[1].token_id);
}

TEST(Envelopes, AreOpenAIs) {
  const AnswerEnvelope envelope(AnswerKind::kChat, "k", 17, "demo", /*includes_usage=*/true);
  const json chunk = json::parse(fmt::format("{}{}{}", envelope.chunk_head(),
                                             R"({"index":0,"delta":{}})", envelope.chunk_tail()));
  EXPECT_EQ(chunk["id"], "chatcmpl-k");
  EXPECT_EQ(chunk["object"], "chat.completion.chunk");
  EXPECT_EQ(chunk["created"], 17);
  EXPECT_EQ(chunk["choices"].size(), 1u);
  EXPECT_TRUE(chunk["usage"].is_null());
  const json last = json::parse(envelope.usage_chunk({9, 4, 3, 2}));
  EXPECT_TRUE(last["choices"].empty());
  EXPECT_EQ(last["usage"]["total_tokens"], 12);
  EXPECT_EQ(last["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
  EXPECT_EQ(last["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
  const std::vector<std::string> choices{"{}", "{}"};
  const json whole = json::parse(envelope.whole(choices, {}));
  EXPECT_EQ(whole["object"], "chat.completion");
  EXPECT_EQ(whole["choices"].size(), 2u);
}

}  // namespace
}  // namespace dsl::serving
