// The HTTP face of text services.
#include <gmock/gmock.h>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/text_service/text_json.h"
#include "engine/serving/text_service/text_service.h"
#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kSecret = "a secret";

HttpRequest request(const std::string& method, const std::string& target,
                    const std::string& query = "", const std::string& body = "") {
  HttpRequest made;
  made.head.method = method;
  made.head.target = target;
  made.head.query = query;
  made.head.authorization = std::string("Bearer ") + kSecret;
  made.head.server_endpoint = "127.0.0.1:5";
  made.body = body;
  return made;
}

/// As a server would.
HttpResponse answer(TextService& service, const HttpRequest& made) {
  if (auto refusal = service.refuse(made.head)) return *std::move(refusal);
  return service.handle(made);
}

TextService preprocess_service() {
  return TextService(TextRole::kPreprocess, test::r1_model(), {}, kSecret);
}

TEST(TextService, Prepares) {
  TextService service = preprocess_service();
  const HttpResponse response =
      answer(service, request("POST", "/v1/preprocess", "kind=chat",
                              R"({"model":"demo","messages":[{"role":"user","content":"hi"}]})"));
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(parse_prepared_request(response.body)->choices.size(), 1u);
  const HttpResponse tokens =
      answer(service, request("POST", "/v1/preprocess", "kind=tokenize", R"({"prompt":"1"})"));
  EXPECT_EQ(json::parse(tokens.body)["count"], 2);
  EXPECT_THAT(answer(service, request("GET", "/metrics")).body,
              HasSubstr("dslaunch_text_requests_total{role=\"preprocess\",status=\"200\"} 2"));
}

TEST(TextService, TellsTheClientsFaultsAsOpenAIDoes) {
  TextService service = preprocess_service();
  const HttpResponse response =
      answer(service, request("POST", "/v1/preprocess", "kind=chat", R"({"model":"x"})"));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(json::parse(response.body)["error"]["code"], "model_not_found");
  EXPECT_EQ(answer(service, request("POST", "/v1/preprocess", "kind=poem", "{}")).status, 400);
}

TEST(TextService, Postprocesses) {
  TextService service(TextRole::kPostprocess, test::r1_model(), {}, kSecret);
  AnswerFormat format;
  format.is_streamed = true;
  const json item{{"stream", "s"},
                  {"format", json::parse(to_json(format))},
                  {"token_ids", test::tokens_of(*test::r1_model(), "7")}};
  const HttpResponse response = answer(
      service, request("POST", "/v1/postprocess", "", json{{"items", json::array({item})}}.dump()));
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_THAT(answer(service, request("GET", "/metrics")).body,
              HasSubstr("dslaunch_text_streams{role=\"postprocess\"} 1"));
}

TEST(TextService, OpensOnlyToWhoKnowsTheSecret) {
  TextService service = preprocess_service();
  HttpRequest stranger = request("POST", "/v1/preprocess", "kind=chat", "{}");
  stranger.head.authorization = "Bearer guess";
  EXPECT_EQ(answer(service, stranger).status, 401);
  HttpRequest probe = request("GET", "/health");
  probe.head.authorization.clear();
  EXPECT_EQ(answer(service, probe).status, 200);
  HttpRequest challenge = request("GET", "/v1/identity", "nonce=0123456789abcdef0123456789abcdef");
  challenge.head.authorization.clear();
  EXPECT_EQ(json::parse(answer(service, challenge).body)["proof"],
            identity_proof(kSecret, "127.0.0.1:5", "0123456789abcdef0123456789abcdef"));
}

TEST(TextService, HasOneRole) {
  TextService service = preprocess_service();
  EXPECT_EQ(answer(service, request("POST", "/v1/postprocess", "", "{}")).status, 404);
  EXPECT_EQ(answer(service, request("GET", "/v1/preprocess")).status, 405);
}

}  // namespace
}  // namespace dsl::serving
