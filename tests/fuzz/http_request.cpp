// What a stranger can send to an HTTP port: bytes in any pieces, through the reader that sessions
// use, and what comes back through the client's reader.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/serving/http/http_request_reader.h"
#include "engine/serving/http/http_response_reader.h"
#include "engine/serving/http/response_head.h"

namespace {

using dsl::serving::HttpRequestReader;
using dsl::serving::HttpResponseReader;

constexpr std::size_t kMaxHeaderBytes = 1024;
constexpr std::size_t kMaxBodyBytes = 2048;

/// Reads requests until the bytes end or are refused; `step` bytes come at a time.
void read_requests(const std::string& bytes, std::size_t step) {
  std::string received;
  std::size_t position = 0;
  const auto receive = [&] {
    if (position >= bytes.size()) return false;
    received += bytes.substr(position, step);
    position += step;
    return true;
  };
  while (true) {
    HttpRequestReader reader(kMaxHeaderBytes);
    auto progress = reader.read_head(received);
    while (progress == HttpRequestReader::Progress::kNeedsMore && receive())
      progress = reader.read_head(received);
    if (progress != HttpRequestReader::Progress::kComplete) return;
    const dsl::serving::HttpHead head = reader.head();
    if (head.target.find('?') != std::string::npos) std::abort();
    if (reader.limit_body(kMaxBodyBytes) == HttpRequestReader::Progress::kBroken) return;
    progress = reader.read_body(received);
    while (progress == HttpRequestReader::Progress::kNeedsMore && receive())
      progress = reader.read_body(received);
    if (progress != HttpRequestReader::Progress::kComplete) return;
    if (reader.take_body().size() > kMaxBodyBytes) std::abort();
    // Whatever the client sent in a header comes back as one header.
    dsl::serving::HttpResponse response;
    response.headers = {{"X-Request-Id", head.request_id + "\r\nX-Injected: 1"}};
    std::string answer = response_head(response, 0, reader.keeps_alive());
    if (answer.find("\r\nX-Injected") != std::string::npos) std::abort();
    HttpResponseReader back;
    if (back.read_head(answer) != HttpResponseReader::Progress::kComplete) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  read_requests(bytes, bytes.size() + 1);
  read_requests(bytes, 1u + data[0] % 16u);
  std::string answer = bytes;
  HttpResponseReader reader;
  std::string body;
  if (reader.read_head(answer) == HttpResponseReader::Progress::kComplete)
    (void)reader.read_body(answer, body);
  return 0;
}
