#include "engine/serving/http/http_request_reader.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace dsl::serving {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

std::string text_of(boost::beast::string_view view) { return {view.data(), view.size()}; }

}  // namespace

struct HttpRequestReader::Parser : http::request_parser<http::string_body> {};

HttpRequestReader::HttpRequestReader(std::size_t max_header_bytes)
    : max_header_bytes_(max_header_bytes), parser_(std::make_unique<Parser>()) {
  parser_->header_limit(static_cast<std::uint32_t>(max_header_bytes));
  parser_->body_limit(boost::none);  // until the head is known
}

HttpRequestReader::~HttpRequestReader() = default;

HttpRequestReader::Progress HttpRequestReader::broken(int status, std::string message,
                                                      std::string remedy) {
  problem_ = {status, {ErrorCode::kRequestInvalid, std::move(message), std::move(remedy)}};
  return Progress::kBroken;
}

HttpRequestReader::Progress HttpRequestReader::take(std::string& bytes) {
  error_code error;
  const std::size_t taken = parser_->put(boost::asio::buffer(bytes), error);
  bytes.erase(0, taken);
  if (!error) return Progress::kComplete;
  if (error == http::error::need_more) return Progress::kNeedsMore;
  if (error == http::error::header_limit) {
    return broken(431, "the headers of the HTTP request are too large",
                  fmt::format("send at most {} bytes of headers", max_header_bytes_));
  }
  if (error == http::error::body_limit) {
    return broken(413, "the body of the HTTP request is too large",
                  fmt::format("send at most {} bytes", max_body_bytes_));
  }
  return broken(400, fmt::format("the HTTP request is malformed: {}", error.message()),
                "send HTTP/1.1");
}

HttpRequestReader::Progress HttpRequestReader::read_head(std::string& bytes) {
  if (bytes.empty()) return Progress::kNeedsMore;
  const Progress progress = take(bytes);
  if (progress == Progress::kBroken) return progress;
  if (parser_->is_header_done()) return Progress::kComplete;
  // The parser looks at the limit only when it finds the end of a line.
  if (bytes.size() > max_header_bytes_) {
    return broken(431, "the headers of the HTTP request are too large",
                  fmt::format("send at most {} bytes of headers", max_header_bytes_));
  }
  return Progress::kNeedsMore;
}

HttpRequestReader::Progress HttpRequestReader::limit_body(std::size_t max_body_bytes) {
  max_body_bytes_ = max_body_bytes;
  parser_->body_limit(max_body_bytes);
  parser_->eager(true);
  const auto announced = parser_->content_length();
  if (!announced || *announced <= max_body_bytes) return Progress::kComplete;
  return broken(413, "the body of the HTTP request is too large",
                fmt::format("send at most {} bytes", max_body_bytes));
}

HttpRequestReader::Progress HttpRequestReader::read_body(std::string& bytes) {
  while (!parser_->is_done()) {
    const std::size_t before = bytes.size();
    if (before == 0) return Progress::kNeedsMore;
    const Progress progress = take(bytes);
    if (progress == Progress::kBroken) return progress;
    if (!parser_->is_done() && bytes.size() == before) return Progress::kNeedsMore;
  }
  return Progress::kComplete;
}

HttpHead HttpRequestReader::head() const {
  const auto& message = parser_->get();
  HttpHead head;
  head.method = text_of(message.method_string());
  head.target = text_of(message.target());
  const std::size_t question = std::min(head.target.find('?'), head.target.size());
  if (question < head.target.size()) head.query = head.target.substr(question + 1);
  head.target.resize(question);
  head.authorization = text_of(message[http::field::authorization]);
  head.content_type = text_of(message[http::field::content_type]);
  head.request_id = text_of(message["X-Request-Id"]);
  return head;
}

bool HttpRequestReader::wants_continue() const {
  return boost::beast::iequals(parser_->get()[http::field::expect], "100-continue");
}

bool HttpRequestReader::keeps_alive() const { return parser_->get().keep_alive(); }

std::string HttpRequestReader::take_body() { return std::move(parser_->get().body()); }

}  // namespace dsl::serving
