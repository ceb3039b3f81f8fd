#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "transport/bootstrap/connection.h"
#include "transport/bootstrap/exchange_round.h"
#include "transport/bootstrap/handshake.h"
#include "transport/bootstrap/heartbeat.h"
#include "transport/bootstrap/rendezvous.h"
#include "transport/bootstrap/service_thread.h"
#include "transport/bootstrap/socket.h"

namespace dsl::bootstrap {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxReportBytes = 512 * 1024;
constexpr std::chrono::milliseconds kGoodbyeTime{1000};
constexpr std::chrono::milliseconds kStateInterval{500};

std::size_t max_frame_of(int world_size) {
  return 64 + static_cast<std::size_t>(world_size) * (kMaxBlobBytes + 4);
}

/// Waits until the connection has a frame, by the deadline.
Result<Frame> read_frame(Connection& connection, Deadline deadline) {
  while (true) {
    DSL_ASSIGN(std::optional<Frame> frame, connection.next_frame());
    if (frame) return *std::move(frame);
    if (connection.at_end()) {
      return fail(ErrorCode::kRendezvous, "check that the address belongs to the rendezvous server",
                  "the server closed the connection");
    }
    if (deadline.expired()) {
      return fail(ErrorCode::kDeadlineExceeded, "check that the supervisor is not stopped",
                  "the server does not answer");
    }
    pollfd entry{connection.fd(), POLLIN, 0};
    ::poll(&entry, 1, static_cast<int>(deadline.remaining().count()));
    DSL_TRY(connection.fill());
  }
}

/// Proves the secret to the server and makes it prove the same.
Status shake_hands(Connection& connection, const MembershipOptions& options, Deadline deadline) {
  DSL_ASSIGN(const Frame greeting, read_frame(connection, deadline));
  if (greeting.type != FrameType::kChallenge) {
    return fail(ErrorCode::kProtocol, "", "greeting: found a message of type {}",
                static_cast<int>(greeting.type));
  }
  DSL_ASSIGN(const Challenge challenge, decode_challenge(greeting.payload));
  Join join;
  join.rank = static_cast<std::uint32_t>(options.rank);
  join.world_size = static_cast<std::uint32_t>(options.world_size);
  DSL_ASSIGN(join.rank_nonce, random_digest());
  DSL_ASSIGN(join.proof, prove(options.secret, Role::kRank, challenge, join));
  DSL_TRY(connection.queue(FrameType::kJoin, encode(join)));
  DSL_TRY(connection.flush());

  DSL_ASSIGN(const Frame answer, read_frame(connection, deadline));
  if (answer.type == FrameType::kRefused) {
    PayloadReader reader(answer.payload);
    DSL_ASSIGN(Error error, read_error(reader));
    return tl::unexpected(std::move(error));
  }
  if (answer.type != FrameType::kWelcome) {
    return fail(ErrorCode::kProtocol, "", "answer: found a message of type {}",
                static_cast<int>(answer.type));
  }
  DSL_ASSIGN(const Digest proof, decode_proof(answer.payload));
  DSL_ASSIGN(const Digest expected, prove(options.secret, Role::kServer, challenge, join));
  if (!digests_equal(proof, expected)) {
    return fail(ErrorCode::kAuthentication, "check --rendezvous: another process answers there",
                "the server could not prove that it knows the secret");
  }
  return {};
}

class Member final : public Membership {
 public:
  Member(MembershipOptions options, Connection connection, UniqueFd event)
      : options_(std::move(options)),
        local_host_(local_address(connection.fd()).host),
        connection_(std::move(connection)),
        event_(std::move(event)),
        thread_(start_service_thread([this] { run(); })) {}

  ~Member() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    signal_event(event_.get());
    thread_.join();
  }

  int rank() const override { return options_.rank; }
  int world_size() const override { return options_.world_size; }
  std::string local_host() const override { return local_host_; }

  Result<std::vector<std::string>> exchange(std::string blob, Deadline deadline) override {
    if (blob.size() > kMaxBlobBytes) {
      return fail(ErrorCode::kInvalidArgument, "", "exchange of {} bytes: expected at most {}",
                  blob.size(), kMaxBlobBytes);
    }
    const std::lock_guard one_at_a_time(exchange_mutex_);
    std::unique_lock lock(mutex_);
    if (ended_) return tl::unexpected(*ended_);
    const std::uint32_t round = next_round_++;
    outbox_.emplace_back(FrameType::kExchange, PayloadWriter().u32(round).text(blob).take());
    signal_event(event_.get());
    const auto settled = [&] { return ended_ || (gathered_ && gathered_->round == round); };
    if (deadline.is_never()) {
      changed_.wait(lock, settled);
    } else {
      changed_.wait_until(lock, deadline.time_point(), settled);
    }
    if (gathered_ && gathered_->round == round) {
      return std::exchange(gathered_, std::nullopt)->blobs;
    }
    if (ended_) return tl::unexpected(*ended_);
    const bool known = !missing_.empty() && missing_round_ == round;
    return fail(ErrorCode::kDeadlineExceeded, "look at the logs of those ranks",
                "rank {} waited for the other ranks beyond its deadline; missing: {}",
                options_.rank,
                known ? fmt::format("rank {}", fmt::join(missing_, ", rank ")) : "unknown");
  }

  Status report(const std::string& json) override {
    if (json.size() > kMaxReportBytes) {
      return fail(ErrorCode::kInvalidArgument, "", "report of {} bytes: expected at most {}",
                  json.size(), kMaxReportBytes);
    }
    {
      const std::lock_guard lock(mutex_);
      if (!connected_) return tl::unexpected(*ended_);
      outbox_.emplace_back(FrameType::kReport, json);
    }
    signal_event(event_.get());
    return {};
  }

  void tell_state(std::function<std::string()> state) override {
    {
      const std::lock_guard lock(mutex_);
      state_ = std::move(state);
    }
    signal_event(event_.get());
  }

  void hear_states(std::function<void(int, std::string_view)> heard) override {
    const std::lock_guard lock(mutex_);
    heard_ = std::move(heard);
  }

  void on_end(std::function<void(const Error&)> callback) override {
    {
      const std::lock_guard lock(mutex_);
      callback_ = std::move(callback);
    }
    signal_event(event_.get());
  }

  std::optional<Error> ended() const override {
    const std::lock_guard lock(mutex_);
    return ended_;
  }

 private:
  struct Gathered {
    std::uint32_t round = 0;
    std::vector<std::string> blobs;
  };

  void run() {
    Clock::time_point next_beat = Clock::now();
    while (!stopping()) {
      tell_end();
      const bool connected = !lost_;
      if (connected && Clock::now() >= next_beat) {
        note(connection_.queue(FrameType::kBeat, ""));
        next_beat = Clock::now() + options_.heartbeat_interval;
      }
      if (connected) tell_own_state();
      if (connected) send_outbox();
      const short output = connected && connection_.has_output() ? POLLOUT : 0;
      pollfd entries[2] = {{event_.get(), POLLIN, 0},
                           {lost_ ? -1 : connection_.fd(), static_cast<short>(POLLIN | output), 0}};
      const auto next = std::min(next_beat, next_state_.value_or(next_beat));
      const auto pause =
          std::max(std::chrono::milliseconds(1),
                   std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()));
      ::poll(entries, 2, connected ? static_cast<int>(pause.count()) : -1);
      if (entries[0].revents != 0) clear_event(event_.get());
      if (connected && entries[1].revents != 0) listen();
      if (connected) check_silence();
    }
    if (!lost_) say_goodbye();
  }

  bool stopping() const {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  void tell_end() {
    std::function<void(const Error&)> callback;
    std::optional<Error> error;
    {
      const std::lock_guard lock(mutex_);
      if (!ended_ || !callback_ || stopping_) return;
      callback = std::exchange(callback_, nullptr);
      error = ended_;
    }
    callback(*error);
  }

  void tell_own_state() {
    if (next_state_ && Clock::now() < *next_state_) return;
    std::function<std::string()> state;
    {
      const std::lock_guard lock(mutex_);
      state = state_;
    }
    if (!state) return;
    next_state_ = Clock::now() + kStateInterval;
    const std::string text = state();
    // One that is too long is not worth the membership.
    if (text.size() <= kMaxBlobBytes) note(connection_.queue(FrameType::kState, text));
  }

  void send_outbox() {
    std::vector<std::pair<FrameType, std::string>> outbox;
    {
      const std::lock_guard lock(mutex_);
      outbox = std::exchange(outbox_, {});
    }
    for (const auto& [type, payload] : outbox) note(connection_.queue(type, payload));
    note(connection_.flush());
  }

  /// Handles what the server has sent.
  void listen() {
    const Status filled = connection_.fill();
    while (!lost_) {
      auto frame = connection_.next_frame();
      if (!frame) return note(tl::unexpected(std::move(frame).error()));
      if (!frame->has_value()) break;
      last_heard_ = Clock::now();
      note(handle(std::move(**frame)));
    }
    note(filled);
    if (connection_.at_end()) {
      note(fail(ErrorCode::kPeerLost, "look at the supervisor's log", "it closed the connection"));
    }
  }

  Status handle(Frame frame) {
    PayloadReader reader(frame.payload);
    switch (frame.type) {
      case FrameType::kBeat:
        return handle_beat(reader);
      case FrameType::kGathered:
        return handle_gathered(reader);
      case FrameType::kState:
        return handle_state(reader);
      case FrameType::kFailed: {
        DSL_TRY(reader.u32());
        DSL_ASSIGN(Error error, read_error(reader));
        end(std::move(error));
        return {};
      }
      case FrameType::kShutdown:
        end(Error{ErrorCode::kCancelled, "the supervisor asked the world to end", {}});
        return {};
      default:
        return fail(ErrorCode::kProtocol, "run the same version on every node",
                    "it sent an unexpected message of type {}", static_cast<int>(frame.type));
    }
  }

  Status handle_beat(PayloadReader& reader) {
    DSL_ASSIGN(const std::uint32_t round, reader.u32());
    DSL_ASSIGN(const std::uint32_t count, reader.u32());
    std::vector<std::uint32_t> missing;
    for (std::uint32_t i = 0; i < count; ++i) {
      DSL_ASSIGN(const std::uint32_t rank, reader.u32());
      missing.push_back(rank);
    }
    DSL_TRY(reader.finish());
    const std::lock_guard lock(mutex_);
    missing_round_ = round;
    missing_ = std::move(missing);
    return {};
  }

  Status handle_state(PayloadReader& reader) {
    DSL_ASSIGN(const std::uint32_t rank, reader.u32());
    DSL_ASSIGN(const std::string state, reader.text());
    DSL_TRY(reader.finish());
    std::function<void(int, std::string_view)> heard;
    {
      const std::lock_guard lock(mutex_);
      heard = heard_;
    }
    if (heard) heard(static_cast<int>(rank), state);
    return {};
  }

  Status handle_gathered(PayloadReader& reader) {
    Gathered gathered;
    DSL_ASSIGN(gathered.round, reader.u32());
    for (int rank = 0; rank < options_.world_size; ++rank) {
      DSL_ASSIGN(std::string blob, reader.text());
      gathered.blobs.push_back(std::move(blob));
    }
    DSL_TRY(reader.finish());
    {
      const std::lock_guard lock(mutex_);
      gathered_ = std::move(gathered);
    }
    changed_.notify_all();
    return {};
  }

  void check_silence() {
    const auto silence =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last_heard_);
    if (silence > silence_limit(options_.heartbeat_interval, options_.failure_deadline)) {
      note(fail(ErrorCode::kPeerHung, "look for a stopped supervisor or a cut network",
                "it has been silent for {} ms", silence.count()));
    }
  }

  /// An error of the connection is the end of the membership.
  void note(Status status) {
    if (status || lost_) return;
    lost_ = true;
    Error error = std::move(status).error();
    error.message = fmt::format("rank {} lost the rendezvous server at {}: {}", options_.rank,
                                options_.server_address, error.message);
    end(std::move(error));
    const std::lock_guard lock(mutex_);
    connected_ = false;
  }

  void end(Error error) {
    {
      const std::lock_guard lock(mutex_);
      if (!ended_) ended_ = std::move(error);
    }
    changed_.notify_all();
    signal_event(event_.get());
  }

  /// Sends what is queued and the goodbye, and waits until the server has taken it.
  void say_goodbye() {
    const Deadline deadline = Deadline::after(kGoodbyeTime);
    send_outbox();
    note(connection_.queue(FrameType::kGoodbye, ""));
    while (!lost_ && !connection_.at_end() && !deadline.expired()) {
      note(connection_.flush());
      const short output = connection_.has_output() ? POLLOUT : 0;
      pollfd entry{connection_.fd(), static_cast<short>(POLLIN | output), 0};
      ::poll(&entry, 1, static_cast<int>(deadline.remaining().count()));
      note(connection_.fill());
    }
  }

  const MembershipOptions options_;
  const std::string local_host_;

  // Of the membership's thread.
  Connection connection_;
  Clock::time_point last_heard_ = Clock::now();
  std::optional<Clock::time_point> next_state_;  // once there is a state to tell
  bool lost_ = false;

  const UniqueFd event_;
  std::mutex exchange_mutex_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<FrameType, std::string>> outbox_;
  std::uint32_t next_round_ = 0;
  std::optional<Gathered> gathered_;
  std::uint32_t missing_round_ = 0;
  std::vector<std::uint32_t> missing_;
  std::optional<Error> ended_;
  std::function<void(const Error&)> callback_;
  std::function<std::string()> state_;
  std::function<void(int, std::string_view)> heard_;
  bool connected_ = true;
  bool stopping_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

Result<std::unique_ptr<Membership>> Membership::join(MembershipOptions options, Deadline deadline) {
  DSL_ASSIGN(const HostPort address, parse_host_port(options.server_address));
  DSL_ASSIGN(UniqueFd fd, connect_tcp(address, deadline));
  set_no_delay(fd.get());
  Connection connection(std::move(fd), kMaxHandshakeFrame);
  if (Status status = shake_hands(connection, options, deadline); !status) {
    return tl::unexpected(std::move(status).error().within(
        fmt::format("rank {} joins the world at {}", options.rank, options.server_address)));
  }
  connection.set_max_frame(max_frame_of(options.world_size));
  DSL_ASSIGN(UniqueFd event, make_event());
  return std::make_unique<Member>(std::move(options), std::move(connection), std::move(event));
}

}  // namespace dsl::bootstrap
