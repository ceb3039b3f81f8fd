// What is wrong with a request is told in OpenAI's form: status, field, code.
#include <gmock/gmock.h>

#include "engine/serving/text_service/openai_error.h"
#include "engine/serving/text_service/preprocessor.h"
#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

struct WrongRequest {
  const char* body;
  const char* param;  // empty: none
  const char* code = "DSL-503";
  int status = 400;
};

std::ostream& operator<<(std::ostream& out, const WrongRequest& request) {
  return out << request.body;
}

template <typename T>
void expect_refused(const Result<T>& result, const WrongRequest& wrong) {
  ASSERT_FALSE(result.has_value()) << wrong.body;
  const HttpResponse response = openai_error(result.error());
  const json error = json::parse(response.body)["error"];
  EXPECT_EQ(response.status, wrong.status) << wrong.body;
  EXPECT_EQ(error["type"], "invalid_request_error");
  EXPECT_EQ(error["code"], wrong.code) << error;
  EXPECT_EQ(error["param"].is_null() ? "" : error["param"].get<std::string>(), wrong.param)
      << error;
  EXPECT_FALSE(error["message"].get<std::string>().empty());
}

class WrongChats : public testing::TestWithParam<WrongRequest> {};
class WrongCompletions : public testing::TestWithParam<WrongRequest> {};

TEST_P(WrongChats, AreRefused) {
  expect_refused(Preprocessor(test::r1_model()).prepare_chat(GetParam().body), GetParam());
}

TEST_P(WrongCompletions, AreRefused) {
  expect_refused(Preprocessor(test::r1_model()).prepare_completion(GetParam().body), GetParam());
}

#define DSL_CHAT(fields) R"({"model":"demo","messages":[{"role":"user","content":"a"}],)" fields "}"
#define DSL_MESSAGE(message) R"({"model":"demo","messages":[)" message "]}"
#define DSL_TOOLS R"("tools":[{"type":"function","function":{"name":"f"}}])"

INSTANTIATE_TEST_SUITE_P(
    All, WrongChats,
    testing::Values(
        WrongRequest{"", ""}, WrongRequest{"{", ""}, WrongRequest{"[]", ""},
        WrongRequest{"{\"model\":\"\xff\"}", ""}, WrongRequest{R"({"model":"\ud800"})", ""},
        WrongRequest{R"({"model":"demo","model":"demo"})", ""}, WrongRequest{"{}", "model"},
        WrongRequest{R"({"model":1})", "model"},
        WrongRequest{R"({"model":"x"})", "model", "model_not_found", 404},
        WrongRequest{R"({"model":"demo"})", "messages"},
        WrongRequest{R"({"model":"demo","messages":[]})", "messages"},
        WrongRequest{R"({"model":"demo","messages":{}})", "messages"},
        WrongRequest{DSL_MESSAGE("1"), "messages[0]"},
        WrongRequest{DSL_MESSAGE(R"({"content":"a"})"), "messages[0].role"},
        WrongRequest{DSL_MESSAGE(R"({"role":"owner","content":"a"})"), "messages[0].role"},
        WrongRequest{DSL_MESSAGE(R"({"role":"user"})"), "messages[0].content"},
        WrongRequest{DSL_MESSAGE(R"({"role":"user","content":1})"), "messages[0].content"},
        WrongRequest{DSL_MESSAGE(R"({"role":"user","content":[{"type":"image_url"}]})"),
                     "messages[0].content[0].type"},
        WrongRequest{DSL_MESSAGE(R"({"role":"user","content":"a","tool_calls":[{}]})"),
                     "messages[0].tool_calls"},
        WrongRequest{DSL_MESSAGE(R"({"role":"assistant","tool_calls":[{"type":"x"}]})"),
                     "messages[0].tool_calls[0].type"},
        WrongRequest{
            DSL_MESSAGE(
                R"({"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}]})"),
            "messages[0].tool_calls[0].function.arguments"},
        WrongRequest{DSL_CHAT(R"("stream":1)"), "stream"},
        WrongRequest{DSL_CHAT(R"("stream_options":{"include_usage":true})"), "stream_options"},
        WrongRequest{DSL_CHAT(R"("stream":true,"stream_options":{"include_usage":1})"),
                     "stream_options.include_usage"},
        WrongRequest{DSL_CHAT(R"("n":0)"), "n"}, WrongRequest{DSL_CHAT(R"("n":129)"), "n"},
        WrongRequest{DSL_CHAT(R"("temperature":"hot")"), "temperature"},
        WrongRequest{DSL_CHAT(R"("temperature":-1)"), "temperature"},
        WrongRequest{DSL_CHAT(R"("temperature":1e999)"), ""},
        WrongRequest{DSL_CHAT(R"("top_p":0)"), "top_p"},
        WrongRequest{DSL_CHAT(R"("presence_penalty":3)"), "presence_penalty"},
        WrongRequest{DSL_CHAT(R"("logit_bias":{"768":1})"), "logit_bias"},
        WrongRequest{DSL_CHAT(R"("logit_bias":[])"), "logit_bias"},
        WrongRequest{DSL_CHAT(R"("seed":1.5)"), "seed"},
        WrongRequest{DSL_CHAT(R"("stop":1)"), "stop"},
        WrongRequest{DSL_CHAT(R"("stop":"")"), "stop"},
        WrongRequest{DSL_CHAT(R"("stop":[1])"), "stop"},
        WrongRequest{DSL_CHAT(R"("stop_token_ids":[768])"), "stop_token_ids"},
        WrongRequest{DSL_CHAT(R"("max_tokens":0)"), "max_tokens"},
        WrongRequest{DSL_CHAT(R"("max_completion_tokens":-1)"), "max_completion_tokens"},
        WrongRequest{DSL_CHAT(R"("max_tokens":512)"), "messages", "context_length_exceeded"},
        WrongRequest{DSL_CHAT(R"("top_logprobs":1)"), "top_logprobs"},
        WrongRequest{DSL_CHAT(R"("logprobs":1)"), "logprobs"},
        WrongRequest{DSL_CHAT(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs"},
        WrongRequest{DSL_CHAT(R"("response_format":{"type":"json_object"})"), "response_format"},
        WrongRequest{DSL_CHAT(R"("guided_json":{})"), "guided_json"},
        WrongRequest{DSL_CHAT(R"("functions":[])"), "functions"},
        WrongRequest{DSL_CHAT(R"("continue_final_message":true)"), "continue_final_message"},
        WrongRequest{DSL_CHAT(R"("chat_template_kwargs":[])"), "chat_template_kwargs"},
        WrongRequest{DSL_CHAT(R"("tools":{})"), "tools"},
        WrongRequest{DSL_CHAT(R"("tools":[{"type":"retrieval"}])"), "tools[0].type"},
        WrongRequest{DSL_CHAT(R"("tools":[{"type":"function","function":{"name":"a b"}}])"),
                     "tools[0].function.name"},
        WrongRequest{
            DSL_CHAT(R"("tools":[{"type":"function","function":{"name":"f","strict":true}}])"),
            "tools[0].function.strict"},
        WrongRequest{DSL_CHAT(R"("tool_choice":"required")"), "tool_choice"},
        WrongRequest{DSL_CHAT(DSL_TOOLS R"(,"tool_choice":"must")"), "tool_choice"},
        // R1 always reasons first.
        WrongRequest{DSL_CHAT(DSL_TOOLS R"(,"tool_choice":"required")"), "tool_choice"},
        WrongRequest{
            DSL_CHAT(DSL_TOOLS R"(,"tool_choice":{"type":"function","function":{"name":"g"}})"),
            "tool_choice.function.name"}));

INSTANTIATE_TEST_SUITE_P(
    All, WrongCompletions,
    testing::Values(WrongRequest{R"({"model":"demo"})", "prompt"},
                    WrongRequest{R"({"model":"demo","prompt":1})", "prompt"},
                    WrongRequest{R"({"model":"demo","prompt":[]})", "prompt"},
                    WrongRequest{R"({"model":"demo","prompt":["a",1]})", "prompt"},
                    WrongRequest{R"({"model":"demo","prompt":["a",[1]]})", "prompt"},
                    WrongRequest{R"({"model":"demo","prompt":[768]})", "prompt"},
                    WrongRequest{R"({"model":"demo","prompt":[-1]})", "prompt"},
                    WrongRequest{R"({"model":"demo","prompt":["a","b"],"n":65})", "n"},
                    WrongRequest{R"({"model":"demo","prompt":"a","max_tokens":600})", "prompt",
                                 "context_length_exceeded"},
                    WrongRequest{R"({"model":"demo","prompt":"a","logprobs":true})", "logprobs"},
                    WrongRequest{R"({"model":"demo","prompt":"a","echo":true,"logprobs":1})",
                                 "echo"},
                    WrongRequest{R"({"model":"demo","prompt":"a","suffix":"b"})", "suffix"},
                    WrongRequest{R"({"model":"demo","prompt":"a","best_of":2})", "best_of"}));

TEST(LongTexts, AreRefusedBeforeTheyAreTokenised) {
  const json body{{"model", "demo"}, {"prompt", std::string(8 << 20, 'a')}};
  const WrongRequest wrong{"8 MiB", "prompt", "context_length_exceeded"};
  expect_refused(Preprocessor(test::r1_model()).prepare_completion(body.dump()), wrong);
  const json chat{{"model", "demo"},
                  {"messages", {{{"role", "user"}, {"content", std::string(8 << 20, 'a')}}}}};
  const WrongRequest wrong_chat{"8 MiB", "messages", "context_length_exceeded"};
  expect_refused(Preprocessor(test::r1_model()).prepare_chat(chat.dump()), wrong_chat);
}

TEST(OpenAIErrors, OfTheServiceAreNotTheClients) {
  const json error =
      json::parse(openai_error_json({ErrorCode::kUnreachable, "no engine", "wait"}))["error"];
  EXPECT_EQ(error["type"], "server_error");
  EXPECT_EQ(error["message"], "no engine. Remedy: wait");
  EXPECT_EQ(openai_error({ErrorCode::kOverloaded, "full", ""}).status, 429);
}

}  // namespace
}  // namespace dsl::serving
