#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "engine/serving/http/http_session_async.h"
#include "engine/serving/http/response_head.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
using Progress = HttpRequestReader::Progress;

/// A buffer that grew for a large request is given back.
constexpr std::size_t kKeptBufferBytes = 4096;
constexpr auto kGoodbyePatience = std::chrono::seconds(1);

void shrink(std::string& buffer) {
  if (buffer.empty() && buffer.capacity() > kKeptBufferBytes) std::string().swap(buffer);
}

}  // namespace

void HttpSessions::sweep(std::chrono::steady_clock::time_point now) {
  for (HttpSession* session : alive) session->sweep(now);
}

void HttpSessions::publish() {
  const std::scoped_lock lock(mutex);
  is_empty = alive.empty();
  if (is_empty) all_gone.notify_all();
}

HttpSession::HttpSession(std::unique_ptr<ByteStream> stream, std::string client_address,
                         std::shared_ptr<HttpSessions> sessions)
    : stream_(std::move(stream)),
      wake_(stream_->executor(), Clock::time_point::max()),
      client_address_(std::move(client_address)),
      sessions_(std::move(sessions)) {
  sessions_->alive.insert(this);
  sessions_->publish();
}

HttpSession::~HttpSession() {
  sessions_->alive.erase(this);
  sessions_->publish();
}

void HttpSession::start() {
  asio::co_spawn(
      stream_->executor(), [self = shared_from_this()] { return self->run(); }, asio::detached);
}

void HttpSession::end_when_idle() {
  if (!is_answering_) cut();
}

void HttpSession::cut() {
  stream_->close();
  is_gone_ = true;
  wake();
}

void HttpSession::sweep(Clock::time_point now) {
  if (is_gone_) return;
  if (now >= deadline_ || (is_streaming_ && stream_->has_ended_unread())) cut();
}

void HttpSession::wake() { wake_.cancel(); }

asio::awaitable<void> HttpSession::run() {
  allow(sessions_->options.header_timeout);
  if (co_await stream_->begin()) co_return;
  bool keeps_alive = true;
  while (keeps_alive && !sessions_->is_stopping && !is_gone_) keeps_alive = co_await serve_one();
  if (is_gone_) co_return;
  allow(kGoodbyePatience);
  co_await stream_->end();
}

/// True when the connection can carry another request.
asio::awaitable<bool> HttpSession::serve_one() {
  auto reader_owner = std::make_unique<HttpRequestReader>(sessions_->options.max_header_bytes);
  HttpRequestReader& reader = *reader_owner;
  if (!co_await read_head(reader)) co_return false;
  is_answering_ = true;
  HttpRequest request{reader.head(), {}};
  request.head.client_address = client_address_;
  request.head.server_endpoint = sessions_->endpoint;
  if (auto refusal = sessions_->handler.refuse(request.head)) {
    co_await refuse(*std::move(refusal));
    co_return false;
  }
  const auto limit = sessions_->handler.body_limit(request.head);
  if (reader.limit_body(limit.value_or(sessions_->options.max_body_bytes)) == Progress::kBroken) {
    co_await refuse(describe(reader.problem()));
    co_return false;
  }
  if (!co_await read_body(reader)) co_return false;
  request.body = reader.take_body();
  const Manner manner{reader.keeps_alive() && !sessions_->is_stopping,
                      request.head.method == "HEAD"};
  reader_owner.reset();
  const bool keeps_alive = co_await answer(std::move(request), manner);
  is_answering_ = false;
  co_return keeps_alive;
}

asio::awaitable<bool> HttpSession::read_head(HttpRequestReader& reader) {
  shrink(received_);
  bool has_begun = !received_.empty();
  // Of a new connection at least the first request is expected at once.
  if (deadline_ == Clock::time_point::max()) allow(sessions_->options.idle_timeout);
  if (has_begun) allow(sessions_->options.header_timeout);
  while (true) {
    const Progress progress = reader.read_head(received_);
    if (progress == Progress::kComplete) co_return true;
    if (progress == Progress::kBroken) {
      co_await refuse(describe(reader.problem()));
      co_return false;
    }
    if (co_await stream_->read_some(received_)) co_return false;
    if (!has_begun) allow(sessions_->options.header_timeout);
    has_begun = true;
  }
}

asio::awaitable<bool> HttpSession::read_body(HttpRequestReader& reader) {
  allow(sessions_->options.body_timeout);
  if (reader.wants_continue() && received_.empty() &&
      co_await stream_->write("HTTP/1.1 100 Continue\r\n\r\n")) {
    co_return false;
  }
  while (true) {
    const Progress progress = reader.read_body(received_);
    if (progress == Progress::kComplete) co_return true;
    if (progress == Progress::kBroken) {
      co_await refuse(describe(reader.problem()));
      co_return false;
    }
    if (co_await stream_->read_some(received_)) co_return false;
  }
}

/// Frees the request before a stream begins, which may last.
asio::awaitable<bool> HttpSession::answer(HttpRequest request, Manner manner) {
  HttpResponse response = sessions_->handler.handle(request);
  request = {};
  shrink(received_);
  deadline_ = Clock::time_point::max();
  if (!response.stream) co_return co_await send_whole(response, manner) && manner.keeps_alive;
  is_streaming_ = true;
  const bool is_sent = co_await send_stream(std::move(response), manner);
  is_streaming_ = false;
  co_return is_sent&& manner.keeps_alive;
}

HttpResponse HttpSession::describe(const RequestProblem& problem) {
  HttpResponse response = sessions_->handler.describe(problem.error);
  response.status = problem.status;
  return response;
}

asio::awaitable<void> HttpSession::refuse(HttpResponse response) {
  co_await send_whole(response, {});
  co_await drain();
}

/// Reads on for a moment: closing with unread bytes would reset the connection and take the
/// answer with it.
asio::awaitable<void> HttpSession::drain() {
  constexpr std::size_t kMaxDrainedBytes = 4 << 20;
  allow(kGoodbyePatience);
  co_await stream_->end();
  for (std::size_t total = 0; total < kMaxDrainedBytes; total += received_.size()) {
    received_.clear();
    if (co_await stream_->read_some(received_)) break;
  }
}

asio::awaitable<bool> HttpSession::write(std::string_view bytes) {
  allow(sessions_->options.write_timeout);
  const bool is_written = !co_await stream_->write(bytes);
  deadline_ = Clock::time_point::max();
  co_return is_written;
}

asio::awaitable<bool> HttpSession::send_whole(const HttpResponse& response, Manner manner) {
  const std::string bytes = response_head(response, response.body.size(), manner.keeps_alive) +
                            (manner.is_head ? std::string() : response.body);
  co_return co_await write(bytes);
}

asio::awaitable<bool> HttpSession::send_stream(HttpResponse response, Manner manner) {
  response.stream->on_ready([weak = weak_from_this(), executor = stream_->executor()] {
    asio::dispatch(executor, [weak] {
      if (const auto self = weak.lock()) self->wake();
    });
  });
  stream_->watch([this] {
    is_gone_ = true;
    wake();
  });
  const bool is_sent = co_await send_pieces(response, manner);
  if (is_sent) {
    stream_->unwatch();
  } else {
    response.stream->abandon();
    cut();
  }
  co_return is_sent;
}

asio::awaitable<bool> HttpSession::send_pieces(HttpResponse& response, Manner manner) {
  bool has_begun = false;
  while (!is_gone_) {
    ResponseStream::Piece piece = response.stream->take();
    if (piece.failure && has_begun) co_return false;
    if (piece.failure) {
      piece.whole = std::make_shared<HttpResponse>(sessions_->handler.describe(*piece.failure));
    }
    if (piece.whole) co_return co_await send_whole(*piece.whole, manner);
    if (piece.bytes.empty() && !piece.is_last) {
      boost::system::error_code woken;
      co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      continue;
    }
    std::string bytes;
    if (!has_begun) bytes = response_head(response, std::nullopt, manner.keeps_alive);
    has_begun = true;
    if (!piece.bytes.empty()) bytes += chunk_of(piece.bytes);
    if (piece.is_last) bytes += kLastChunk;
    if (!co_await write(bytes)) co_return false;
    if (piece.is_last) co_return true;
  }
  co_return false;
}

}  // namespace dsl::serving
