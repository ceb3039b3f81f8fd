#include "launcher/engine_client/messages.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace dsl::launcher {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kLastLine =
    R"({"finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":2},)"
    R"("timings":{"queue_s":0.1,"prefill_s":0.2,"decode_s":0.3,"time_to_first_token_s":0.4}})";

TEST(Messages, BodyHoldsOnlyWhatWasSet) {
  GenerateOptions options;
  options.chat = "hi";
  options.sampling.temperature = 0;
  options.sampling.logit_bias = {"5:-1.5", "7:100"};
  const auto body = generate_body(options);
  ASSERT_TRUE(body) << body.error().to_string();
  const json parsed = json::parse(*body);
  EXPECT_EQ(parsed.at("messages"), json::parse(R"([{"role":"user","content":"hi"}])"));
  EXPECT_EQ(parsed.at("sampling"),
            json::parse(R"({"temperature":0.0,"logit_bias":{"5":-1.5,"7":100.0}})"));
  EXPECT_FALSE(parsed.contains("prompt"));
}

TEST(Messages, RefusesMalformedBiasAndInvalidUtf8) {
  GenerateOptions options;
  options.prompt = "x";
  for (const char* bias : {"", "5", ":1", "5:", "x:1", "5:1x", "5 :1"}) {
    options.sampling.logit_bias = {bias};
    EXPECT_EQ(generate_body(options).error().code, ErrorCode::kInvalidArgument) << bias;
  }
  options.sampling.logit_bias.clear();
  options.prompt = "\xFF\xFE";
  EXPECT_EQ(generate_body(options).error().code, ErrorCode::kInvalidUtf8);
}

TEST(Messages, FoldsAStream) {
  GenerateStream stream;
  EXPECT_EQ(stream.take_line(R"({"token_ids":[1],"text":"a","logprobs":[]})"), "a");
  EXPECT_EQ(stream.take_line(R"({"token_ids":[2],"text":"","logprobs":[{"x":1}]})"), "");
  EXPECT_EQ(stream.take_line(kLastLine), "");
  const auto result = std::move(stream).finish();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->text, "a");
  EXPECT_THAT(result->token_ids, testing::ElementsAre(1, 2));
  EXPECT_EQ(result->finish_reason, "stop");
  EXPECT_EQ(result->logprobs_json, "{\"x\":1}");
  EXPECT_DOUBLE_EQ(result->decode_s, 0.3);
}

TEST(Messages, AnErrorLineKeepsItsCode) {
  GenerateStream stream;
  const auto line = stream.take_line(
      R"({"error":{"code":"DSL-200","name":"PeerLost","message":"rank 1","remedy":"r"}})");
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code, ErrorCode::kPeerLost);
  EXPECT_EQ(line.error().message, "rank 1");
}

TEST(Messages, AStreamCutShortIsAnError) {
  GenerateStream stream;
  ASSERT_TRUE(stream.take_line(R"({"token_ids":[1],"text":"a"})"));
  EXPECT_EQ(std::move(stream).finish().error().code, ErrorCode::kUnreachable);
}

TEST(Messages, MalformedLinesAreProtocolErrors) {
  for (const char* line :
       {"", "x", "[]", "1", R"({"text":5})", R"({"token_ids":["a"]})",
        R"({"finish_reason":"stop"})", R"({"error":5})", R"({"finish_reason":5,"usage":{}})"}) {
    GenerateStream stream;
    const auto text = stream.take_line(line);
    ASSERT_FALSE(text) << line;
    EXPECT_EQ(text.error().code, ErrorCode::kProtocol) << line;
  }
}

TEST(Messages, RefusalsKeepTheEnginesError) {
  const Error error = parse_refusal(
      400, R"({"error":{"code":"DSL-503","name":"RequestInvalid","message":"m","remedy":"r"}})");
  EXPECT_EQ(error.code, ErrorCode::kRequestInvalid);
  EXPECT_EQ(parse_refusal(401, "").code, ErrorCode::kAuthentication);
  EXPECT_THAT(parse_refusal(502, "<html>").message, HasSubstr("502"));
}

}  // namespace
}  // namespace dsl::launcher
