// The client of text services against services, and what is the same without them.
#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include "engine/serving/discovery/identity_check_async.h"
#include "engine/serving/http/http_server.h"
#include "engine/serving/text_service/text_client_async.h"
#include "engine/serving/text_service/text_service.h"
#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
namespace asio = boost::asio;

class TextClientTest : public testing::Test {
 protected:
  struct Service {
    Service(TextRole role, const std::string& secret)
        : handler(role, test::r1_model(), {}, secret),
          server(HttpServer::start({}, handler).value()) {}
    TextService handler;
    std::unique_ptr<HttpServer> server;
  };

  TextClientTest() {
    loop_.run([this] {
      http_ = std::make_unique<HttpClient>(loop_, "s", identity_check("s"));
      client_ = std::make_unique<TextClient>(*http_);
    });
  }
  ~TextClientTest() override {
    loop_.run([this] { http_.reset(); });
  }

  template <typename Work>
  auto run(Work work) {
    return asio::co_spawn(loop_.context(), std::move(work), asio::use_future).get();
  }
  auto prepare(const Service& service, AnswerKind kind, const std::string& body) {
    return run([&]() -> asio::awaitable<TextClient::TextResult<PreparedRequest>> {
      co_return co_await client_->prepare(service.server->endpoint(), kind, body);
    });
  }
  auto postprocess(const Service& service, const std::vector<PostprocessItem>& items) {
    return run([&]() -> asio::awaitable<Result<std::vector<AnswerUpdate>>> {
      co_return co_await client_->postprocess(service.server->endpoint(), items);
    });
  }

  EventLoop loop_;
  std::unique_ptr<HttpClient> http_;
  std::unique_ptr<TextClient> client_;
};

TEST_F(TextClientTest, PreparesAndTokenizes) {
  const Service service(TextRole::kPreprocess, "s");
  const auto request = prepare(service, AnswerKind::kChat,
                               R"({"model":"demo","messages":[{"role":"user","content":"hi"}]})");
  ASSERT_TRUE(request.has_value()) << request.error().error.message;
  EXPECT_EQ(test::text_of(*test::r1_model(), *request->choices[0].call.prompt_token_ids),
            "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>\n");
  const auto tokens = run([&]() -> asio::awaitable<TextClient::TextResult<std::string>> {
    co_return co_await client_->tokenize(service.server->endpoint(), R"({"prompt":"1"})");
  });
  EXPECT_EQ(json::parse(tokens.value())["count"], 2);
}

TEST_F(TextClientTest, PassesOnWhatTheUserDidWrong) {
  const Service service(TextRole::kPreprocess, "s");
  const auto refused = prepare(service, AnswerKind::kCompletion, R"({"model":"x"})");
  ASSERT_FALSE(refused.has_value());
  ASSERT_TRUE(refused.error().refusal.has_value());
  EXPECT_EQ(refused.error().refusal->status, 404);
  EXPECT_EQ(json::parse(refused.error().refusal->body)["error"]["code"], "model_not_found");
}

TEST_F(TextClientTest, FaultsOfServicesAreNotTheUsers) {
  const std::string body = R"({"model":"demo","prompt":"a"})";
  const Service other_role(TextRole::kPostprocess, "s");
  const auto refused = prepare(other_role, AnswerKind::kCompletion, body);
  ASSERT_FALSE(refused.has_value());
  EXPECT_FALSE(refused.error().refusal.has_value());
  const Service stranger(TextRole::kPreprocess, "another secret");
  const auto unknown = prepare(stranger, AnswerKind::kCompletion, body);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_FALSE(unknown.error().refusal.has_value());
  EXPECT_EQ(unknown.error().error.code, ErrorCode::kAuthentication);
}

TEST_F(TextClientTest, AnAnswerMayMoveBetweenServices) {
  const Service services[] = {Service(TextRole::kPostprocess, "s"),
                              Service(TextRole::kPostprocess, "s")};
  AnswerFormat format;
  format.splits_reasoning = true;
  format.wants_logprobs = true;
  format.lead_token_ids = test::tokens_of(*test::r1_model(), "<think>\n");
  const auto ids = test::tokens_of(*test::r1_model(), "7 and 🙂\n</think>\nso 8 and 🙂");
  const auto tokens = test::sampled(ids);
  format.is_streamed = true;
  test::DeltaJoiner joiner;
  AnswerTokens so_far(format.wants_logprobs);
  for (std::size_t size = 1; size <= tokens.size(); ++size) {
    so_far.append({&tokens[size - 1], 1});
    PostprocessItem item{"stream", &format, &so_far, size - 1, size, std::nullopt};
    if (size == tokens.size()) item.end = AnswerEnd::kStop;
    const auto updates = postprocess(services[size / 3 % 2], {item});
    ASSERT_TRUE(updates.has_value()) << updates.error().message;
    joiner.add(updates->at(0).choice_json);
    EXPECT_EQ(updates->at(0).num_completion_tokens, static_cast<std::int64_t>(size));
  }
  EXPECT_EQ(joiner.joined(), test::streamed(test::r1_model(), format, ids));
}

}  // namespace
}  // namespace dsl::serving
