#include "launcher/engine_client/http_exchange.h"

#include <netinet/tcp.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

namespace dsl::launcher {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kMaxErrorBody = 65536;
constexpr std::size_t kPieceBytes = 65536;
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

/// One exchange on an io_context of its own, which the calling thread runs.
class Exchange {
 public:
  Exchange(const HttpRequest& request, Deadline deadline, const BodySink& on_body)
      : request_(request), deadline_(deadline), on_body_(on_body) {}

  Result<HttpResponse> run(Cancellation& cancellation) {
    asio::co_spawn(context_, talk(), asio::detached);
    asio::steady_timer timer(context_);
    if (!deadline_.is_never()) {
      timer.expires_at(deadline_.time_point());
      timer.async_wait([this](error_code problem) {
        if (!problem) close();
      });
    }
    cancellation.set_hook([this] { asio::post(context_, [this] { close(); }); });
    while (!finished_ && context_.run_one() > 0) {
    }
    cancellation.set_hook({});
    if (std::optional<Error> reason = cancellation.reason()) {
      return tl::unexpected<Error>(*std::move(reason));
    }
    if (problem_ && closed_) {
      return fail(ErrorCode::kDeadlineExceeded, "see whether the engine is overloaded",
                  "{} {} of {}: no answer in time", request_.method, request_.target,
                  request_.endpoint);
    }
    if (problem_) return tl::unexpected<Error>(*std::move(problem_));
    return std::move(response_);
  }

 private:
  void close() {
    closed_ = true;
    resolver_.cancel();
    error_code ignored;
    socket_.close(ignored);
  }

  void set_problem(std::string_view operation, const error_code& problem) {
    problem_ = Error{ErrorCode::kUnreachable,
                     fmt::format("{} {}: {} failed: {}", request_.method, request_.endpoint,
                                 operation, problem.message()),
                     "see whether the deployment is up (dslaunch status) and reachable from here"};
    finished_ = true;
  }

  asio::awaitable<void> talk() {
    const std::size_t colon = request_.endpoint.rfind(':');
    const std::string host = request_.endpoint.substr(0, colon);
    const std::string port = colon == std::string::npos ? "" : request_.endpoint.substr(colon + 1);
    auto [unresolved, addresses] = co_await resolver_.async_resolve(host, port, kNoThrow);
    if (unresolved) co_return set_problem("resolving the address", unresolved);
    auto [refused, connected] = co_await asio::async_connect(socket_, addresses, kNoThrow);
    if (refused) co_return set_problem("connecting", refused);
    enable_keepalive(socket_);

    http::request<http::string_body> message;
    message.method_string(request_.method);
    message.target(request_.target);
    message.set(http::field::host, request_.endpoint);
    message.set(http::field::authorization, "Bearer " + request_.bearer);
    message.keep_alive(false);
    if (!request_.body.empty()) message.set(http::field::content_type, "application/json");
    message.body() = request_.body;
    message.prepare_payload();
    auto [unsent, sent] = co_await http::async_write(socket_, message, kNoThrow);
    if (unsent) co_return set_problem("sending the request", unsent);
    co_await receive();
    finished_ = true;
  }

  asio::awaitable<void> receive() {
    boost::beast::flat_buffer buffer;
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    auto [headless, header] = co_await http::async_read_header(socket_, buffer, parser, kNoThrow);
    if (headless) co_return set_problem("reading the answer", headless);
    response_.status = static_cast<int>(parser.get().result_int());
    std::string piece(kPieceBytes, '\0');
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      auto [broken, got] = co_await http::async_read_some(socket_, buffer, parser, kNoThrow);
      if (broken && broken != http::error::need_buffer) {
        co_return set_problem("reading the answer", broken);
      }
      const std::size_t filled = piece.size() - parser.get().body().size;
      if (!take({piece.data(), filled})) co_return;
    }
  }

  bool take(std::string_view bytes) {
    if (bytes.empty()) return true;
    if (response_.status != 200) {
      response_.body.append(bytes.substr(0, kMaxErrorBody - response_.body.size()));
      return true;
    }
    Status taken = on_body_(bytes);
    if (taken) return true;
    problem_ = std::move(taken).error();
    return false;
  }

  const HttpRequest& request_;
  Deadline deadline_;
  const BodySink& on_body_;
  asio::io_context context_{1};
  tcp::resolver resolver_{context_};
  tcp::socket socket_{context_};
  HttpResponse response_;
  std::optional<Error> problem_;
  bool closed_ = false;
  bool finished_ = false;
};

}  // namespace

Result<HttpResponse> exchange(const HttpRequest& request, Deadline deadline,
                              Cancellation& cancellation, const BodySink& on_body) {
  return Exchange(request, deadline, on_body).run(cancellation);
}

}  // namespace dsl::launcher
