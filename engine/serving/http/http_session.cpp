#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "engine/serving/http/http_session_async.h"
#include "engine/serving/http/response_head.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
using RequestProgress = HttpRequestReader::Progress;

/// A buffer that grew for a large request is given back.
constexpr std::size_t kKeptBufferBytes = 4096;
constexpr auto kGoodbyePatience = std::chrono::seconds(1);

void shrink(std::string& buffer) {
  if (buffer.empty() && buffer.capacity() > kKeptBufferBytes) std::string().swap(buffer);
}

std::string whole_bytes(const HttpResponse& response, bool keeps_alive, bool is_head) {
  std::string bytes = response_head(response, response.body.size(), keeps_alive);
  if (!is_head) bytes += response.body;
  return bytes;
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
  const bool has_ended = is_streaming_ && stream_->is_watch_blind() && stream_->has_ended_unread();
  if (now >= deadline_ || has_ended) cut();
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
  std::optional<Answer> answer = co_await receive();
  if (!answer) co_return false;
  deadline_ = Clock::time_point::max();
  const bool is_sent = answer->response.stream
                           ? co_await send_stream(*answer)
                           : co_await send_whole(answer->response, answer->manner);
  is_answering_ = false;
  co_return is_sent && answer->manner.keeps_alive;
}

/// Reads a request and has it handled; nothing when there is none or it was refused. A coroutine of
/// its own so that what it needs is freed before a stream begins, which may last.
asio::awaitable<std::optional<HttpSession::Answer>> HttpSession::receive() {
  HttpRequestReader reader(sessions_->options.max_header_bytes);
  if (!co_await read_head(reader)) co_return std::nullopt;
  is_answering_ = true;
  HttpRequest request{reader.head(), {}};
  request.head.client_address = client_address_;
  request.head.server_endpoint = sessions_->endpoint;
  const bool is_head = request.head.method == "HEAD";
  if (auto refusal = sessions_->handler.refuse(request.head)) {
    co_await refuse(*std::move(refusal), Manner{false, is_head});
    co_return std::nullopt;
  }
  const auto limit = sessions_->handler.body_limit(request.head);
  if (reader.limit_body(limit.value_or(sessions_->options.max_body_bytes)) ==
      RequestProgress::kBroken) {
    co_await refuse(describe(reader.problem()), Manner());
    co_return std::nullopt;
  }
  if (!co_await read_body(reader)) co_return std::nullopt;
  request.body = reader.take_body();
  const Manner manner{reader.keeps_alive() && !sessions_->is_stopping, is_head};
  Answer answer{sessions_->handler.handle(request), manner};
  shrink(received_);
  co_return std::move(answer);
}

asio::awaitable<bool> HttpSession::read_head(HttpRequestReader& reader) {
  shrink(received_);
  bool has_begun = !received_.empty();
  // Of a new connection at least the first request is expected at once.
  if (deadline_ == Clock::time_point::max()) allow(sessions_->options.idle_timeout);
  if (has_begun) allow(sessions_->options.header_timeout);
  while (true) {
    const RequestProgress progress = reader.read_head(received_);
    if (progress == RequestProgress::kComplete) co_return true;
    if (progress == RequestProgress::kBroken) {
      co_await refuse(describe(reader.problem()), Manner());
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
    const RequestProgress progress = reader.read_body(received_);
    if (progress == RequestProgress::kComplete) co_return true;
    if (progress == RequestProgress::kBroken) {
      co_await refuse(describe(reader.problem()), Manner());
      co_return false;
    }
    if (co_await stream_->read_some(received_)) co_return false;
  }
}

HttpResponse HttpSession::describe(const RequestProblem& problem) {
  HttpResponse response = sessions_->handler.describe(problem.error);
  response.status = problem.status;
  return response;
}

asio::awaitable<void> HttpSession::refuse(HttpResponse response, Manner manner) {
  co_await send_whole(response, manner);
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
  co_return co_await write(whole_bytes(response, manner.keeps_alive, manner.is_head));
}

asio::awaitable<bool> HttpSession::send_stream(Answer& answer) {
  ResponseStream& stream = *answer.response.stream;
  stream.on_ready([weak = weak_from_this(), loop = sessions_->loop.get_executor()] {
    asio::dispatch(loop, [weak] {
      if (const auto self = weak.lock()) self->note_news();
    });
  });
  stream_->watch([this] {
    is_gone_ = true;
    wake();
  });
  is_streaming_ = true;
  const bool is_sent = co_await send_portions(answer);
  is_streaming_ = false;
  if (is_sent) {
    stream_->unwatch();
  } else {
    stream.abandon();
    cut();
  }
  co_return is_sent;
}

asio::awaitable<bool> HttpSession::send_portions(Answer& answer) {
  while (!is_gone_) {
    if (!send_ready(answer)) {
      waiting_ = &answer;
      boost::system::error_code woken;
      co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      waiting_ = nullptr;
    }
    const Portion portion = std::exchange(unsent_, {});
    if (portion.is_broken) co_return false;
    if (!portion.bytes.empty() && !co_await write(portion.bytes)) co_return false;
    if (portion.is_last) co_return true;
  }
  co_return false;
}

/// Whoever brings the news may hold locks that take() needs, and may have more: the loop comes to
/// it next.
void HttpSession::note_news() {
  if (waiting_ == nullptr || is_news_noted_) return;
  is_news_noted_ = true;
  asio::post(sessions_->loop, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->send_news();
  });
}

/// Nearly always the system takes all of it, and the waiting coroutine need not run for it.
void HttpSession::send_news() {
  is_news_noted_ = false;
  if (waiting_ == nullptr || is_gone_) return;
  if (!send_ready(*waiting_)) return;
  waiting_ = nullptr;
  wake();
}

bool HttpSession::send_ready(Answer& answer) {
  Portion portion = next_portion(answer);
  if (!portion.bytes.empty()) {
    answer.has_begun = true;
    portion.bytes.erase(0, stream_->write_now(portion.bytes));
  }
  if (portion.bytes.empty() && !portion.is_last && !portion.is_broken) return false;
  unsent_ = std::move(portion);
  return true;
}

HttpSession::Portion HttpSession::next_portion(Answer& answer) {
  ResponseStream::Piece piece = answer.response.stream->take();
  const Manner manner = answer.manner;
  if (piece.failure && answer.has_begun) return {{}, false, true};
  if (piece.failure) {
    const HttpResponse response = sessions_->handler.describe(*piece.failure);
    return {whole_bytes(response, manner.keeps_alive, manner.is_head), true, false};
  }
  if (piece.whole)
    return {whole_bytes(*piece.whole, manner.keeps_alive, manner.is_head), true, false};
  if (piece.bytes.empty() && !piece.is_last) return {};
  Portion portion{std::move(piece.bytes), piece.is_last, false};
  if (!portion.bytes.empty()) frame_chunk(portion.bytes);
  if (piece.is_last) portion.bytes += kLastChunk;
  if (!answer.has_begun) {
    portion.bytes.insert(0, response_head(answer.response, std::nullopt, manner.keeps_alive));
    // The head is not needed any more, and the stream may last.
    answer.response = {200, "", "", std::move(answer.response.stream)};
  }
  return portion;
}

}  // namespace dsl::serving
