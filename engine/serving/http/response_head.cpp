#include "engine/serving/http/response_head.h"

#include <algorithm>
#include <array>
#include <boost/beast/http/status.hpp>
#include <charconv>

namespace dsl::serving {
namespace {

void add_header(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ");
  // A line break would begin another header.
  std::copy_if(value.begin(), value.end(), std::back_inserter(head),
               [](char c) { return static_cast<unsigned char>(c) >= ' ' && c != 0x7f; });
  head.append("\r\n");
}

}  // namespace

std::string response_head(const HttpResponse& response, std::optional<std::size_t> content_length,
                          bool keeps_alive) {
  namespace http = boost::beast::http;
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status,
                                 std::string_view(reason.data(), reason.size()));
  add_header(head, "Content-Type", response.content_type);
  const auto has = [&](std::string_view name) {
    return std::any_of(response.headers.begin(), response.headers.end(),
                       [&](const auto& header) { return header.first == name; });
  };
  if (response.status == 401) add_header(head, "WWW-Authenticate", "Bearer");
  if (response.status == 429 && !has("Retry-After")) add_header(head, "Retry-After", "1");
  for (const auto& [name, value] : response.headers) add_header(head, name, value);
  if (!keeps_alive) add_header(head, "Connection", "close");
  if (content_length) {
    add_header(head, "Content-Length", std::to_string(*content_length));
  } else {
    add_header(head, "Transfer-Encoding", "chunked");
  }
  return head + "\r\n";
}

void frame_chunk(std::string& bytes) {
  std::array<char, 18> head;
  char* end = std::to_chars(head.data(), head.data() + 16, bytes.size(), 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  bytes.reserve(bytes.size() + head.size() + 2);
  bytes.insert(bytes.begin(), head.data(), end);
  bytes += "\r\n";
}

}  // namespace dsl::serving
