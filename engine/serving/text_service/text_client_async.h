// Asks text services for what Preprocessor and AnswerStream do. For .cpp files: holds coroutines.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine/serving/http/http_client_async.h"
#include "engine/serving/http/http_message.h"
#include "engine/serving/text_service/answer_stream.h"
#include "engine/serving/text_service/answer_tokens.h"
#include "engine/serving/text_service/prepared_request.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// Why a service gave no result.
struct TextFailure {
  Error error;  // of the service: ask another one
  /// The client's request is at fault: this is the answer to it, in OpenAI's form.
  std::optional<HttpResponse> refusal;
};

/// The new tokens of one answer. Non-owning of the format and the tokens, which may become more
/// while the item is on its way.
struct PostprocessItem {
  std::string stream_id;  // unique among the answers of all gateways
  const AnswerFormat* format = nullptr;
  const AnswerTokens* tokens = nullptr;  // of the answer
  std::size_t position = 0;              // how many were presented before
  std::size_t num_tokens = 0;            // how many shall be presented now, the former included
  std::optional<AnswerEnd> end;          // the answer has ended with them
};

/// Belongs to the client's loop; calls must end before it does. Results do not depend on which
/// service is asked, nor on what it was asked before.
class TextClient {
 public:
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;
  template <typename T>
  using TextResult = tl::expected<T, TextFailure>;

  /// Non-owning of `http`, which must outlive this client.
  explicit TextClient(HttpClient& http) : http_(http) {}

  /// `body` is what the user sent.
  Awaitable<TextResult<PreparedRequest>> prepare(std::string endpoint, AnswerKind kind,
                                                 std::string body);
  Awaitable<TextResult<std::string>> tokenize(std::string endpoint, std::string body);
  Awaitable<TextResult<std::string>> detokenize(std::string endpoint, std::string body);
  /// What is new in each answer. Sends a service all tokens of the answers that it does not have.
  /// Errors as of HttpClient::exchange, and kProtocol.
  Awaitable<Result<std::vector<AnswerUpdate>>> postprocess(std::string endpoint,
                                                           std::vector<PostprocessItem> items);

 private:
  Awaitable<TextResult<std::string>> preprocess(std::string endpoint, std::string_view kind,
                                                std::string body);

  HttpClient& http_;
};

}  // namespace dsl::serving
