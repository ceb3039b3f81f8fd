#include "engine/serving/http/http_response_reader.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace dsl::serving {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::uint32_t kMaxHeaderBytes = 16 * 1024;

}  // namespace

struct HttpResponseReader::Parser : http::response_parser<http::string_body> {};

HttpResponseReader::HttpResponseReader() : parser_(std::make_unique<Parser>()) {
  parser_->header_limit(kMaxHeaderBytes);
  parser_->body_limit(boost::none);  // a stream may be long; its reader bounds what it keeps
}

HttpResponseReader::~HttpResponseReader() = default;

HttpResponseReader::Progress HttpResponseReader::read_head(std::string& bytes) {
  if (bytes.empty()) return Progress::kNeedsMore;
  error_code error;
  bytes.erase(0, parser_->put(boost::asio::buffer(bytes), error));
  if (error && error != http::error::need_more) return Progress::kBroken;
  if (!parser_->is_header_done()) {
    return bytes.size() > kMaxHeaderBytes ? Progress::kBroken : Progress::kNeedsMore;
  }
  parser_->eager(true);
  return Progress::kComplete;
}

HttpResponseReader::Progress HttpResponseReader::read_body(std::string& bytes, std::string& body) {
  Progress progress = Progress::kComplete;
  while (!parser_->is_done()) {
    const std::size_t before = bytes.size();
    error_code error;
    if (before > 0) bytes.erase(0, parser_->put(boost::asio::buffer(bytes), error));
    if (error && error != http::error::need_more) return Progress::kBroken;
    if (parser_->is_done() || bytes.size() < before) continue;
    progress = Progress::kNeedsMore;
    break;
  }
  body += parser_->get().body();
  parser_->get().body().clear();
  return progress;
}

int HttpResponseReader::status() const { return static_cast<int>(parser_->get().result_int()); }

bool HttpResponseReader::keeps_alive() const { return parser_->get().keep_alive(); }

}  // namespace dsl::serving
