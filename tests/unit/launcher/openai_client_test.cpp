#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "launcher/openai_client/completion_request.h"
#include "launcher/openai_client/openai_endpoint.h"
#include "launcher/openai_client/sse_parser.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;
using testing::ElementsAre;

TEST(SseParser, FindsTheDataHoweverItIsCut) {
  const std::string stream =
      "data: {\"a\":1}\n\n: comment\nevent: x\ndata:two\r\n\ndata: [DONE]\n\n";
  for (std::size_t size = 1; size <= stream.size(); ++size) {
    SseParser parser;
    std::vector<std::string> found;
    for (std::size_t at = 0; at < stream.size(); at += size) {
      parser.feed(std::string_view(stream).substr(at, size),
                  [&](std::string_view data) { found.emplace_back(data); });
    }
    EXPECT_THAT(found, ElementsAre("{\"a\":1}", "two", "[DONE]")) << size;
  }
}

TEST(OpenAiEndpoint, ReadsTheKindsOfUrls) {
  EXPECT_EQ(parse_gateway_url("http://h:80", "k")->address, "h:80");
  EXPECT_EQ(parse_gateway_url("http://h:80/v1", "k")->address, "h:80");
  EXPECT_TRUE(parse_gateway_url("https://h:1/", "k")->use_tls);
  EXPECT_EQ(parse_gateway_url("https://h", "k")->address, "h:443");
  EXPECT_EQ(parse_gateway_url("unix:/run/s", "k")->address, "unix:/run/s");
  for (const char* url : {"", "h:80", "ftp://h", "http://", "http://h:80/other"}) {
    EXPECT_FALSE(parse_gateway_url(url, "k")) << url;
  }
}

TEST(OpenAiErrors, KeepOurCodesAndNameTheField) {
  const Error ours = parse_openai_error(
      429, R"({"error":{"message":"full","type":"t","param":null,"code":"DSL-504"}})");
  EXPECT_EQ(ours.code, ErrorCode::kOverloaded);
  EXPECT_EQ(ours.message, "full");
  const Error with_remedy = parse_openai_error(
      404, R"({"error":{"message":"no model. Remedy: see /v1/models","code":"model_not_found"}})");
  EXPECT_EQ(with_remedy.message, "no model");
  EXPECT_EQ(with_remedy.remedy, "see /v1/models");
  const Error theirs = parse_openai_error(
      400, R"({"error":{"message":"bad","type":"t","param":"messages[0]","code":"invalid"}})");
  EXPECT_EQ(theirs.code, ErrorCode::kRequestInvalid);
  EXPECT_EQ(theirs.field, "messages[0]");
  EXPECT_EQ(
      parse_openai_error(400, R"({"error":{"message":"m","code":"context_length_exceeded"}})").code,
      ErrorCode::kContextOverflow);
  EXPECT_EQ(parse_openai_error(401, "{}").code, ErrorCode::kAuthentication);
  EXPECT_EQ(parse_openai_error(502, "<html>").code, ErrorCode::kUnreachable);
}

TEST(CompletionRequest, SendsWhatWasSetAndNothingElse) {
  CompletionOptions options;
  options.model = "m";
  options.thinking = true;
  options.max_tokens = 5;
  const json chat = json::parse(*chat_body({{"user", "hi"}}, options));
  EXPECT_EQ(chat["messages"][0]["content"], "hi");
  EXPECT_EQ(chat["max_completion_tokens"], 5);
  EXPECT_EQ(chat["chat_template_kwargs"]["thinking"], true);
  EXPECT_EQ(chat["stream"], true);
  EXPECT_FALSE(chat.contains("temperature"));
  const json text = json::parse(*completion_body("once", options));
  EXPECT_EQ(text["prompt"], "once");
  EXPECT_EQ(text["max_tokens"], 5);
  EXPECT_EQ(completion_body("\xFF", options).error().code, ErrorCode::kInvalidUtf8);
}

TEST(CompletionChunk, ReadsBothKindsAndErrors) {
  const auto chat = parse_chunk(
      R"({"choices":[{"delta":{"content":"a","reasoning_content":"b"},"finish_reason":null}]})");
  EXPECT_EQ(chat->text, "a");
  EXPECT_EQ(chat->reasoning, "b");
  EXPECT_EQ(chat->finish_reason, "");
  const auto text = parse_chunk(R"({"choices":[{"text":"x","finish_reason":"stop"}]})");
  EXPECT_EQ(text->text, "x");
  EXPECT_EQ(text->finish_reason, "stop");
  const auto usage =
      parse_chunk(R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}})");
  EXPECT_EQ(usage->completion_tokens, 4);
  EXPECT_TRUE(parse_chunk("[DONE]")->is_done);
  EXPECT_EQ(parse_chunk(R"({"error":{"message":"m","code":"DSL-603"}})").error().code,
            ErrorCode::kUnreachable);
  for (const char* bad : {"", "[]", "{", R"({"usage":{"prompt_tokens":"x"}})"}) {
    EXPECT_FALSE(parse_chunk(bad)) << bad;
  }
}

}  // namespace
}  // namespace dsl::launcher
