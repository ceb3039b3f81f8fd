#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "engine/serving/http/http_client_async.h"
#include "engine/serving/http/remedies.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;
using asio::ip::tcp;
using boost::system::error_code;
using ResponseProgress = HttpResponseReader::Progress;

constexpr auto kIdleSweepInterval = std::chrono::milliseconds(100);
/// Below the servers' own limit for idle connections, so that they seldom close one in our hands.
constexpr auto kMaxIdle = std::chrono::seconds(30);
constexpr std::size_t kMaxIdlePerEndpoint = 64;
constexpr std::size_t kMaxIdentityBytes = 4096;
constexpr std::size_t kMaxAnswerBytes = 64 << 20;
constexpr std::size_t kMaxLineBytes = 16 << 20;  // log probabilities of many tokens
constexpr std::string_view kUnreachable = "see whether the service is up and reachable from here";

/// Keepalive probes find a host that has gone without a word within about ten seconds.
void set_socket_options(StreamSocket& socket) {
  const std::pair<int, int> options[] = {
      {TCP_NODELAY, 1}, {TCP_KEEPIDLE, 5}, {TCP_KEEPINTVL, 2}, {TCP_KEEPCNT, 3}};
  for (const auto& [name, value] : options) {
    (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, name, &value, sizeof value);
  }
  const int on = 1;
  (void)::setsockopt(socket.native_handle(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

/// "host:port" to an address; names are resolved in a thread of Asio's.
asio::awaitable<tcp::endpoint> resolve(const std::string& endpoint, error_code& error) {
  const std::size_t colon = std::min(endpoint.rfind(':'), endpoint.size());
  std::string host = endpoint.substr(0, colon);
  const std::string port = endpoint.substr(std::min(colon + 1, endpoint.size()));
  if (host.size() > 1 && host.front() == '[') host = host.substr(1, host.size() - 2);
  tcp::resolver resolver(co_await asio::this_coro::executor);
  const auto found = co_await resolver.async_resolve(host, port, tcp::resolver::numeric_service,
                                                     redirect_error(use_awaitable, error));
  if (!error && found.empty()) error = asio::error::host_not_found;
  co_return error ? tcp::endpoint() : found.begin()->endpoint();
}

/// Addresses in numbers, which services announce, need no resolver.
bool parse_numeric(const std::string& endpoint, tcp::endpoint& parsed) {
  const std::size_t colon = endpoint.rfind(':');
  if (colon == std::string::npos || endpoint.size() - colon > 6) return false;
  const std::string port = endpoint.substr(colon + 1);
  if (port.empty() || port.find_first_not_of("0123456789") != std::string::npos) return false;
  error_code error;
  const auto address = asio::ip::make_address_v4(endpoint.substr(0, colon), error);
  if (error || std::stoi(port) > 65535) return false;
  parsed = tcp::endpoint(address, static_cast<std::uint16_t>(std::stoi(port)));
  return true;
}

}  // namespace

HttpClient::Sweeping::Sweeping(asio::io_context& context) : timer(context) {}

HttpClient::HttpClient(EventLoop& loop, std::string secret, std::shared_ptr<ServerCheck> check)
    : loop_(loop),
      secret_(std::move(secret)),
      check_(std::move(check)),
      sweeping_(std::make_shared<Sweeping>(loop.context())) {
  asio::co_spawn(loop.context(), sweep(sweeping_, this), asio::detached);
}

HttpClient::~HttpClient() {
  sweeping_->is_over = true;
  sweeping_->timer.cancel();
}

asio::awaitable<void> HttpClient::sweep(std::shared_ptr<Sweeping> sweeping, HttpClient* client) {
  while (!sweeping->is_over) {
    error_code error;
    sweeping->timer.expires_after(kIdleSweepInterval);
    co_await sweeping->timer.async_wait(redirect_error(use_awaitable, error));
    if (!sweeping->is_over) client->sweep_now(Clock::now());
  }
}

void HttpClient::sweep_now(Clock::time_point now) {
  for (ClientCall* call : timed_calls_) {
    if (now < call->deadline_ || call->is_late_) continue;
    call->is_late_ = true;
    call->close();
  }
  for (auto& [endpoint, connections] : idle_) {
    std::erase_if(connections,
                  [&](const auto& connection) { return now - connection->idle_since > kMaxIdle; });
  }
  std::erase_if(idle_, [](const auto& entry) { return entry.second.empty(); });
}

std::unique_ptr<HttpClient::Connection> HttpClient::take_idle(const std::string& endpoint) {
  const auto found = idle_.find(endpoint);
  while (found != idle_.end() && !found->second.empty()) {
    auto connection = std::move(found->second.back());
    found->second.pop_back();
    if (!connection->stream->has_ended_unread()) return connection;
  }
  return nullptr;
}

void HttpClient::put_back(const std::string& endpoint, std::unique_ptr<Connection> connection) {
  auto& connections = idle_[endpoint];
  if (connections.size() >= kMaxIdlePerEndpoint || !connection->received.empty()) return;
  connection->idle_since = Clock::now();
  connections.push_back(std::move(connection));
}

void HttpClient::forget(const std::string& endpoint) { idle_.erase(endpoint); }

std::size_t HttpClient::num_idle_connections(const std::string& endpoint) const {
  const auto found = idle_.find(endpoint);
  return found == idle_.end() ? 0 : found->second.size();
}

asio::awaitable<Result<ClientAnswer>> HttpClient::exchange(std::string endpoint,
                                                           ClientRequest request,
                                                           std::chrono::milliseconds timeout) {
  ClientCall call(*this, std::move(endpoint));
  call.set_deadline(Clock::now() + timeout);
  const Result<int> status = co_await call.send(std::move(request));
  if (!status) co_return tl::unexpected<Error>(status.error());
  Result<std::string> body = co_await call.read_all(kMaxAnswerBytes);
  if (!body) co_return tl::unexpected<Error>(body.error());
  co_return ClientAnswer{*status, *std::move(body)};
}

ClientCall::ClientCall(HttpClient& client, std::string endpoint)
    : client_(client), endpoint_(std::move(endpoint)) {}

ClientCall::~ClientCall() {
  if (deadline_ != Clock::time_point::max()) client_.timed_calls_.erase(this);
}

void ClientCall::set_deadline(Clock::time_point deadline) {
  deadline_ = deadline;
  client_.timed_calls_.insert(this);
}

void ClientCall::cancel() {
  is_cancelled_ = true;
  close();
}

void ClientCall::close() {
  if (connection_) connection_->stream->close();
  error_code ignored;
  if (connecting_ != nullptr) connecting_->close(ignored);
}

Error ClientCall::broken(std::string_view operation, const error_code& error) const {
  if (is_cancelled_) return {ErrorCode::kCancelled, "the call was cancelled", ""};
  if (is_late_) {
    return {ErrorCode::kDeadlineExceeded, fmt::format("{}: {} took too long", endpoint_, operation),
            "see whether the service is overloaded"};
  }
  return {ErrorCode::kUnreachable,
          fmt::format("{}: {} failed: {}", endpoint_, operation, error.message()),
          std::string(kUnreachable)};
}

asio::awaitable<Result<void>> ClientCall::connect() {
  error_code error;
  tcp::endpoint address;
  if (!parse_numeric(endpoint_, address)) address = co_await resolve(endpoint_, error);
  if (error) co_return tl::unexpected<Error>(broken("resolving the address", error));
  StreamSocket socket(client_.loop_.context());
  const asio::generic::stream_protocol::endpoint generic_address(address);
  connecting_ = &socket;
  if (!is_cancelled_ && !is_late_) {
    co_await socket.async_connect(generic_address, redirect_error(use_awaitable, error));
  } else {
    error = asio::error::operation_aborted;
  }
  connecting_ = nullptr;
  if (error) co_return tl::unexpected<Error>(broken("connecting", error));
  set_socket_options(socket);
  connection_ = std::make_unique<HttpClient::Connection>();
  connection_->stream = make_plain_stream(std::move(socket));
  co_return co_await check_server();
}

asio::awaitable<Result<void>> ClientCall::check_server() {
  if (!client_.check_) co_return Result<void>();
  const Result<std::string> question = client_.check_->question();
  if (!question) co_return tl::unexpected<Error>(question.error());
  const Result<std::string> answer = co_await ask(*question);
  if (!answer) co_return tl::unexpected<Error>(answer.error());
  if (client_.check_->accepts(endpoint_, *question, *answer)) co_return Result<void>();
  connection_.reset();
  co_return fail(ErrorCode::kAuthentication,
                 "find out who listens there; the service belongs to somebody else",
                 "{}: the service could not prove that it knows the deployment's secret",
                 endpoint_);
}

/// A short exchange without the secret.
asio::awaitable<Result<std::string>> ClientCall::ask(const std::string& question) {
  const std::string bytes = fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", question, endpoint_);
  error_code error = co_await connection_->stream->write(bytes);
  if (error) co_return tl::unexpected<Error>(broken("asking for its identity", error));
  HttpResponseReader reader;
  std::string body;
  while (true) {
    ResponseProgress progress = reader.read_head(connection_->received);
    if (progress == ResponseProgress::kComplete)
      progress = reader.read_body(connection_->received, body);
    if (progress == ResponseProgress::kComplete) co_return body;
    // Whoever answers otherwise is no service of ours.
    if (progress == ResponseProgress::kBroken || body.size() > kMaxIdentityBytes)
      co_return std::string();
    error = co_await connection_->stream->read_some(connection_->received);
    if (error) co_return tl::unexpected<Error>(broken("waiting for its identity", error));
  }
}

std::string ClientCall::to_bytes(const ClientRequest& request) const {
  std::string bytes =
      fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, endpoint_);
  if (!client_.secret_.empty()) bytes += "Authorization: Bearer " + client_.secret_ + "\r\n";
  if (request.method != "GET") {
    bytes += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n",
                         request.body.size());
  }
  return bytes + "\r\n" + request.body;
}

asio::awaitable<Result<int>> ClientCall::send(ClientRequest request) {
  const std::string bytes = to_bytes(request);
  request = {};
  connection_ = client_.take_idle(endpoint_);
  const bool was_idle = connection_ != nullptr;
  for (const bool is_retry : {false, true}) {
    if (!connection_) {
      const Result<void> connected = co_await connect();
      if (!connected) co_return tl::unexpected<Error>(connected.error());
    }
    const auto status = co_await exchange_heads(bytes, was_idle && !is_retry);
    if (status) co_return *status;
    connection_.reset();
    if (!status.error().may_retry) co_return tl::unexpected<Error>(status.error().error);
  }
  co_return tl::unexpected<Error>(broken("sending the request", asio::error::connection_reset));
}

asio::awaitable<tl::expected<int, ClientCall::Failure>> ClientCall::exchange_heads(
    const std::string& bytes, bool was_idle) {
  const auto failed = [&](std::string_view operation, error_code error) {
    return tl::unexpected<Failure>(
        Failure{broken(operation, error), was_idle && !is_cancelled_ && !is_late_});
  };
  error_code error = co_await connection_->stream->write(bytes);
  if (error) co_return failed("sending the request", error);
  reader_ = std::make_unique<HttpResponseReader>();
  while (true) {
    const ResponseProgress progress = reader_->read_head(connection_->received);
    if (progress == ResponseProgress::kComplete) co_return reader_->status();
    if (progress == ResponseProgress::kBroken) {
      co_return tl::unexpected<Failure>(
          Failure{{ErrorCode::kProtocol, endpoint_ + ": the answer is not HTTP",
                   std::string(kOneVersionRemedy)},
                  false});
    }
    error = co_await connection_->stream->read_some(connection_->received);
    if (error) co_return failed("waiting for the answer", error);
  }
}

/// The answer is complete: the connection can carry another request.
void ClientCall::finish() {
  if (connection_ && reader_->keeps_alive()) {
    client_.put_back(endpoint_, std::move(connection_));
  }
  connection_.reset();
}

asio::awaitable<Result<std::string>> ClientCall::read_all(std::size_t max_bytes) {
  std::string body = std::move(unread_);
  while (connection_) {
    const ResponseProgress progress = reader_->read_body(connection_->received, body);
    if (progress == ResponseProgress::kBroken || body.size() > max_bytes) {
      connection_.reset();
      co_return fail(ErrorCode::kProtocol, kOneVersionRemedy,
                     "{}: the answer is malformed or too large", endpoint_);
    }
    if (progress == ResponseProgress::kComplete) {
      finish();
      break;
    }
    const error_code error = co_await connection_->stream->read_some(connection_->received);
    if (error) co_return tl::unexpected<Error>(broken("reading the answer", error));
  }
  co_return body;
}

asio::awaitable<Result<bool>> ClientCall::read_lines(LineTaker take) {
  ResponseProgress progress = ResponseProgress::kComplete;
  error_code error;
  const ByteStream::Taker decode = [&](std::string_view bytes) {
    progress = decode_body(bytes);
    return progress == ResponseProgress::kNeedsMore && hand_over_lines(take);
  };
  if (connection_ && decode("")) error = (co_await connection_->stream->read_each(decode)).error;
  if (error) co_return tl::unexpected<Error>(broken("reading the answer", error));
  if (progress == ResponseProgress::kBroken) {
    connection_.reset();
    co_return fail(ErrorCode::kProtocol, kOneVersionRemedy,
                   "{}: the answer is malformed or has too long a line", endpoint_);
  }
  if (progress == ResponseProgress::kNeedsMore) co_return false;
  finish();  // first: whoever takes the last line may cancel the call
  (void)hand_over_lines(take);
  co_return true;
}

ResponseProgress ClientCall::decode_body(std::string_view bytes) {
  std::string& received = connection_->received;
  received += bytes;
  const ResponseProgress progress = reader_->read_body(received, unread_);
  received.shrink_to_fit();  // little is kept while nothing comes
  return unread_.size() > kMaxLineBytes ? ResponseProgress::kBroken : progress;
}

bool ClientCall::hand_over_lines(const LineTaker& take) {
  bool wants_more = true;
  if (const std::size_t size = unread_.rfind('\n') + 1; size > 0) {
    wants_more = take(std::string_view(unread_).substr(0, size));
    unread_.erase(0, size);
  }
  unread_.shrink_to_fit();
  return wants_more;
}

}  // namespace dsl::serving
