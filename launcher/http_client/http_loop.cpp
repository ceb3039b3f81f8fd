#include "launcher/http_client/http_loop.h"

#include <fmt/core.h>
#include <netinet/tcp.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <map>
#include <utility>

namespace dsl::launcher {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using asio::local::stream_protocol;
using boost::system::error_code;

constexpr std::size_t kPieceBytes = 16384;
constexpr std::string_view kUnixPrefix = "unix:";
constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);

/// Keepalive probes find a host that has gone without a word within about ten seconds.
void enable_keepalive(tcp::socket& socket) {
  using Idle = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPIDLE>;
  using Interval = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPINTVL>;
  using Count = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPCNT>;
  error_code ignored;  // without them a dead host is only noticed later
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  socket.set_option(Idle(5), ignored);
  socket.set_option(Interval(2), ignored);
  socket.set_option(Count(3), ignored);
  socket.set_option(tcp::no_delay(true), ignored);
}

std::string to_bytes(const HttpRequest& request) {
  const bool is_local = request.endpoint.starts_with(kUnixPrefix);
  std::string bytes =
      fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", request.method,
                  request.target, is_local ? "localhost" : request.endpoint);
  if (!request.bearer.empty()) {
    bytes += fmt::format("Authorization: Bearer {}\r\n", request.bearer);
  }
  if (!request.body.empty() || request.method == "POST") {
    bytes += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n",
                         request.body.size());
  }
  return bytes + "\r\n" + request.body;
}

/// Bytes over whatever carries them: what speaks HTTP is compiled once.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  virtual asio::awaitable<error_code> write(std::string_view bytes) = 0;
  /// Waits for bytes and appends what has come.
  virtual asio::awaitable<error_code> read_some(std::string& bytes) = 0;
};

template <typename Stream>
class StreamOf final : public ByteStream {
 public:
  explicit StreamOf(Stream& stream) : stream_(stream) {}

  asio::awaitable<error_code> write(std::string_view bytes) override {
    auto [problem, sent] = co_await asio::async_write(stream_, asio::buffer(bytes), kNoThrow);
    co_return problem;
  }

  asio::awaitable<error_code> read_some(std::string& bytes) override {
    auto [problem, count] = co_await stream_.async_read_some(asio::buffer(piece_), kNoThrow);
    bytes.append(piece_.data(), count);
    co_return problem;
  }

 private:
  Stream& stream_;
  std::array<char, kPieceBytes> piece_;
};

using Parser = http::response_parser<http::string_body>;

/// Takes from the front of `bytes` what makes a whole piece of the answer.
error_code parse(Parser& parser, std::string& bytes) {
  error_code broken;
  while (!parser.is_done() && !bytes.empty()) {
    const std::size_t count = parser.put(asio::buffer(bytes), broken);
    bytes.erase(0, count);
    if (broken == http::error::need_more) broken = {};
    if (broken || count == 0) break;
  }
  return broken;
}

/// One request on its way, with the sockets that it may use.
struct Exchange {
  Exchange(asio::io_context& context, HttpRequest asked, HttpHandlers told)
      : request(std::move(asked)),
        handlers(std::move(told)),
        resolver(context),
        socket(context),
        local_socket(context) {}

  HttpRequest request;
  HttpHandlers handlers;
  tcp::resolver resolver;
  tcp::socket socket;
  stream_protocol::socket local_socket;
  bool cancelled = false;

  Status problem(std::string_view operation, const error_code& code) const {
    if (cancelled) return fail(ErrorCode::kCancelled, "", "the request was cancelled");
    return fail(ErrorCode::kUnreachable,
                "see whether the deployment is up (dslaunch status) and reachable from here",
                "{} {}: {} failed: {}", request.method, request.endpoint, operation,
                code.message());
  }

  /// A handshake that failed: because of the server's certificate, or otherwise.
  Status handshake_problem(const SSL* session, const error_code& code) const {
    const long verdict = SSL_get_verify_result(session);
    if (cancelled || verdict == X509_V_OK) return problem("the TLS handshake", code);
    return fail(ErrorCode::kAuthentication,
                "name a file with the certificate of its authority in SSL_CERT_FILE, and use the "
                "host that the certificate is for",
                "{}: its certificate is not trusted here: {}", request.endpoint,
                X509_verify_cert_error_string(verdict));
  }

  void cancel() {
    cancelled = true;
    resolver.cancel();
    error_code ignored;
    socket.close(ignored);
    local_socket.close(ignored);
  }

  asio::awaitable<Status> speak(ByteStream& stream) {
    if (const error_code unsent = co_await stream.write(to_bytes(request))) {
      co_return problem("sending the request", unsent);
    }
    Parser parser;
    parser.body_limit(boost::none);
    parser.eager(true);
    std::string bytes;
    bool has_head = false;
    while (!parser.is_done()) {
      error_code broken = co_await stream.read_some(bytes);
      const bool has_ended = broken == asio::error::eof;
      if (broken && !has_ended) co_return problem("reading the answer", broken);
      broken = parse(parser, bytes);
      if (has_ended && !broken && !parser.is_done()) parser.put_eof(broken);
      if (parser.is_header_done() && !std::exchange(has_head, true) && handlers.on_head) {
        handlers.on_head(static_cast<int>(parser.get().result_int()));
      }
      const std::string piece = std::exchange(parser.get().body(), {});
      if (!piece.empty() && handlers.on_body) {
        Status taken = handlers.on_body(piece);
        if (!taken) co_return taken;
      }
      if (broken) co_return problem("reading the answer", broken);
    }
    co_return Status{};
  }

  asio::awaitable<Status> speak_tls(asio::ssl::context& trust, const std::string& host) {
    asio::ssl::stream<tcp::socket&> stream(socket, trust);
    SSL* const session = stream.native_handle();
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host.c_str()) != 1) {
      SSL_set_tlsext_host_name(session, host.c_str());  // of names alone
      SSL_set1_host(session, host.c_str());
    }
    auto [untrusted] = co_await stream.async_handshake(asio::ssl::stream_base::client, kNoThrow);
    if (untrusted) co_return handshake_problem(session, untrusted);
    StreamOf bytes(stream);
    co_return co_await speak(bytes);
  }

  asio::awaitable<Status> run(asio::ssl::context& trust) {
    if (request.endpoint.starts_with(kUnixPrefix)) {
      const stream_protocol::endpoint address(request.endpoint.substr(kUnixPrefix.size()));
      auto [refused] = co_await local_socket.async_connect(address, kNoThrow);
      if (refused) co_return problem("connecting", refused);
      StreamOf bytes(local_socket);
      co_return co_await speak(bytes);
    }
    const std::size_t colon = request.endpoint.rfind(':');
    std::string host = request.endpoint.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    const std::string port = colon == std::string::npos ? "" : request.endpoint.substr(colon + 1);
    auto [unresolved, addresses] = co_await resolver.async_resolve(host, port, kNoThrow);
    if (unresolved) co_return problem("resolving the address", unresolved);
    auto [refused, connected] = co_await asio::async_connect(socket, addresses, kNoThrow);
    if (refused) co_return problem("connecting", refused);
    enable_keepalive(socket);
    if (request.use_tls) co_return co_await speak_tls(trust, host);
    StreamOf bytes(socket);
    co_return co_await speak(bytes);
  }
};

}  // namespace

struct HttpLoop::Impl {
  asio::io_context context{1};
  asio::ssl::context trust{asio::ssl::context::tls_client};
  std::uint64_t last_id = 0;
  std::map<std::uint64_t, std::shared_ptr<Exchange>> exchanges;

  asio::awaitable<void> run(std::uint64_t id, std::shared_ptr<Exchange> exchange) {
    Status ended = co_await exchange->run(trust);
    exchanges.erase(id);
    if (exchange->handlers.on_end) exchange->handlers.on_end(std::move(ended));
  }
};

HttpLoop::HttpLoop() : impl_(std::make_unique<Impl>()) {
  error_code ignored;  // without the system's certificates every handshake fails, and says so
  impl_->trust.set_default_verify_paths(ignored);
  impl_->trust.set_verify_mode(asio::ssl::verify_peer, ignored);
}

HttpLoop::~HttpLoop() = default;

HttpLoop::RequestId HttpLoop::start(HttpRequest request, HttpHandlers handlers) {
  const std::uint64_t id = ++impl_->last_id;
  auto exchange =
      std::make_shared<Exchange>(impl_->context, std::move(request), std::move(handlers));
  impl_->exchanges.emplace(id, exchange);
  asio::co_spawn(impl_->context, impl_->run(id, std::move(exchange)), asio::detached);
  return RequestId{id};
}

void HttpLoop::cancel(RequestId id) {
  const auto found = impl_->exchanges.find(static_cast<std::uint64_t>(id));
  if (found != impl_->exchanges.end()) found->second->cancel();
}

void HttpLoop::call_at(Clock::time_point when, std::function<void()> action) {
  auto timer = std::make_shared<asio::steady_timer>(impl_->context, when);
  timer->async_wait([timer, action = std::move(action)](const error_code& problem) {
    if (!problem) action();
  });
}

void HttpLoop::run() { impl_->context.run(); }
void HttpLoop::stop() { impl_->context.stop(); }

}  // namespace dsl::launcher
