#include "engine/serving/engine_port/request_json.h"

#include <gmock/gmock.h>

namespace dsl::serving {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ParseGenerate, ReadsEveryField) {
  const auto call = parse_generate(
      R"({"token_ids":[1,2],"max_tokens":7,"emitted_token_ids":[3],
          "sampling":{"temperature":0.5,"top_k":4,"top_p":0.9,"min_p":0.1,"repetition_penalty":1.1,
          "presence_penalty":0.2,"frequency_penalty":0.3,"logit_bias":{"5":-1.5},"seed":9,"logprobs":2,
          "stop":["a","b"],"stop_token_ids":[8],"ignore_eos":true}})",
      0);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  EXPECT_THAT(std::get<std::vector<std::int32_t>>(call->prompt), ElementsAre(1, 2));
  const GenerateRequest& request = call->request;
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_THAT(request.emitted_token_ids, ElementsAre(3));
  EXPECT_FLOAT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.top_k, 4);
  EXPECT_FLOAT_EQ(request.sampling.top_p, 0.9f);
  EXPECT_FLOAT_EQ(request.sampling.min_p, 0.1f);
  EXPECT_FLOAT_EQ(request.sampling.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(request.sampling.presence_penalty, 0.2f);
  EXPECT_FLOAT_EQ(request.sampling.frequency_penalty, 0.3f);
  EXPECT_THAT(request.sampling.logit_bias, ElementsAre(std::pair(5, -1.5f)));
  EXPECT_EQ(request.sampling.seed, 9u);
  EXPECT_EQ(request.sampling.num_logprobs, 2);
  EXPECT_TRUE(call->wants_logprobs);
  EXPECT_THAT(call->stop, ElementsAre("a", "b"));
  EXPECT_THAT(request.stop_token_ids, ElementsAre(8));
  EXPECT_TRUE(request.ignore_eos);
}

TEST(ParseGenerate, DefaultsAreGreedyWithoutLogprobs) {
  const auto call = parse_generate(R"({"prompt":"hi","sampling":{"stop":"x"}})", 77);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  EXPECT_EQ(std::get<std::string>(call->prompt), "hi");
  EXPECT_EQ(call->request.sampling.temperature, 0);
  EXPECT_EQ(call->request.sampling.num_logprobs, -1);
  EXPECT_EQ(call->request.sampling.seed, 77u);
  EXPECT_EQ(call->request.max_tokens, 0);
  EXPECT_THAT(call->stop, ElementsAre("x"));
}

TEST(ParseGenerate, ReadsConversationsWithToolsInTheirOrder) {
  const auto call = parse_generate(
      R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":
          [{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
          {"role":"tool","content":"r","tool_call_id":"1"}],
          "tools":[{"z":1,"a":2}],"chat_template_kwargs":{"thinking":true}})",
      0);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  const auto& chat = std::get<ChatPrompt>(call->prompt);
  ASSERT_EQ(chat.messages.size(), 3u);
  EXPECT_EQ(chat.messages[0].content, "hi");
  EXPECT_FALSE(chat.messages[1].content.has_value());
  EXPECT_EQ(chat.messages[1].tool_calls[0].name, "f");
  EXPECT_EQ(chat.messages[2].tool_call_id, "1");
  EXPECT_EQ(chat.options.tools_json, R"([{"z":1,"a":2}])");
  EXPECT_EQ(chat.options.kwargs_json, R"({"thinking":true})");
}

class WrongRequests : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(WrongRequests, NameTheField) {
  const auto call = parse_generate(GetParam().first, 0);
  ASSERT_FALSE(call.has_value()) << GetParam().first;
  EXPECT_EQ(call.error().code, ErrorCode::kRequestInvalid);
  EXPECT_THAT(call.error().message, HasSubstr(GetParam().second));
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongRequests,
    testing::Values(
        std::pair{"", "malformed JSON"}, std::pair{"[]", "request: expected an object"},
        std::pair{R"({"prompt":"\ud800"})", "malformed JSON"},
        std::pair{"{\"prompt\":\"\xff\"}", "malformed JSON"},
        std::pair{"{}", "exactly one of token_ids, prompt and messages"},
        std::pair{R"({"prompt":"a","token_ids":[1]})", "exactly one"},
        std::pair{R"({"prompt":"a","prompt":"b"})", "occurs twice"},
        std::pair{R"({"prompt":1})", "request.prompt"},
        std::pair{R"({"token_ids":"1"})", "request.token_ids"},
        std::pair{R"({"token_ids":[1.5]})", "found 1.5"},
        std::pair{R"({"token_ids":[-1]})", "found -1"},
        std::pair{R"({"token_ids":[4294967296]})", "found 4294967296"},
        std::pair{R"({"prompt":"a","max_tokens":0})", "request.max_tokens"},
        std::pair{R"({"prompt":"a","max_token":1})", "\"max_token\" is unknown"},
        std::pair{R"({"prompt":"a","sampling":[]})", "sampling: expected an object"},
        std::pair{R"({"prompt":"a","sampling":{"temperatur":1}})", "\"temperatur\" is unknown"},
        std::pair{R"({"prompt":"a","sampling":{"temperature":"hot"}})", "sampling.temperature"},
        std::pair{R"({"prompt":"a","sampling":{"top_k":-2}})", "sampling.top_k"},
        std::pair{R"({"prompt":"a","sampling":{"seed":1.5}})", "sampling.seed"},
        std::pair{R"({"prompt":"a","sampling":{"logit_bias":{"x":1}}})", "sampling.logit_bias"},
        std::pair{R"({"prompt":"a","sampling":{"logit_bias":[1]}})", "sampling.logit_bias"},
        std::pair{R"({"prompt":"a","sampling":{"stop":[1]}})", "sampling.stop"},
        std::pair{R"({"prompt":"a","sampling":{"ignore_eos":1}})", "sampling.ignore_eos"},
        std::pair{R"({"prompt":"a","tools":[]})", "with messages only"},
        std::pair{R"({"messages":{}})", "messages: expected a list"},
        std::pair{R"({"messages":[1]})", "messages[0]: expected an object"},
        std::pair{R"({"messages":[{"content":"a"}]})", "messages[0].role"},
        std::pair{R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})",
                  "messages[0].content[0].text"},
        std::pair{R"({"messages":[{"role":"assistant","tool_calls":[{"id":"1"}]}]})",
                  "messages[0].tool_calls[0].function"}));

TEST(ParseScore, NeedsTokenIds) {
  EXPECT_THAT(parse_score(R"({"token_ids":[3,4]})").value(), ElementsAre(3, 4));
  EXPECT_FALSE(parse_score(R"({"token_ids":[]})").has_value());
  EXPECT_FALSE(parse_score(R"({"token_ids":[1],"x":1})").has_value());
}

}  // namespace
}  // namespace dsl::serving
