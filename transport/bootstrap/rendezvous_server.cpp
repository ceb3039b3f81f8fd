#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "transport/base/log.h"
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

constexpr std::size_t kMaxFrame = std::size_t{1} << 20;  // of a joined rank
constexpr std::chrono::seconds kHandshakeTime{10};
constexpr std::size_t kMaxStrangers = 256;  // connections that have not proved themselves yet
constexpr int kMaxWorldSize = 4096;
constexpr std::string_view kRankRemedy = "look at the log of that rank for the first error";

/// A connection; a stranger until it has joined as a rank.
struct Guest {
  Guest(UniqueFd fd, std::string from)
      : connection(std::move(fd), kMaxHandshakeFrame), address(std::move(from)) {}

  Connection connection;
  std::string address;
  Challenge challenge;
  std::optional<int> rank;
  Clock::time_point last_heard = Clock::now();
  bool closing = false;  // to be dropped once its output is sent
  bool left = false;     // said goodbye
};

class Server final : public RendezvousServer {
 public:
  Server(RendezvousServerOptions options, RendezvousEvents events, UniqueFd listener,
         UniqueFd event)
      : options_(std::move(options)),
        events_(std::move(events)),
        listener_(std::move(listener)),
        event_(std::move(event)),
        address_(format_host_port(local_address(listener_.get()))),
        round_(options_.world_size),
        ranks_(static_cast<std::size_t>(options_.world_size)),
        thread_(start_service_thread([this] { run(); })) {}

  ~Server() override {
    command([this] { stopping_ = true; });
    thread_.join();
  }

  std::string address() const override { return address_; }

  void declare_failed(int rank, Error error) override {
    command([&] { declared_.emplace_back(rank, std::move(error)); });
  }

  void request_shutdown() override {
    command([this] { shutdown_requested_ = true; });
  }

 private:
  enum class RankState { kAbsent, kJoined, kLeft };

  template <typename Change>
  void command(Change change) {
    {
      const std::lock_guard lock(mutex_);
      change();
    }
    signal_event(event_.get());
  }

  void run() {
    const auto tick = std::max(options_.heartbeat_interval / 2, std::chrono::milliseconds(1));
    Clock::time_point next_beat = Clock::now();
    while (true) {
      std::vector<pollfd> entries{{event_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const Guest& guest : guests_) {
        const short output = guest.connection.has_output() ? POLLOUT : 0;
        entries.push_back({guest.connection.fd(), static_cast<short>(POLLIN | output), 0});
      }
      ::poll(entries.data(), entries.size(), static_cast<int>(tick.count()));
      if (entries[0].revents != 0) clear_event(event_.get());
      if (!take_commands()) return;
      std::size_t index = 2;
      for (Guest& guest : guests_) {
        if (entries[index++].revents != 0) serve(guest);
      }
      if (entries[1].revents != 0) accept_guests();
      check_silence();
      if (Clock::now() >= next_beat) {
        beat();
        next_beat = Clock::now() + options_.heartbeat_interval;
      }
      guests_.remove_if(
          [](const Guest& guest) { return guest.closing && !guest.connection.has_output(); });
    }
  }

  /// False when the server is to end.
  bool take_commands() {
    std::vector<std::pair<int, Error>> declared;
    bool shutdown = false;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return false;
      declared = std::exchange(declared_, {});
      shutdown = shutdown_requested_;
    }
    for (auto& [rank, error] : declared) fail_world(rank, std::move(error));
    if (shutdown && !shut_down_) {
      shut_down_ = true;
      send_to_ranks(FrameType::kShutdown, "");
    }
    return true;
  }

  void accept_guests() {
    while (true) {
      UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) return;
      set_no_delay(fd.get());
      const auto strangers = std::count_if(guests_.begin(), guests_.end(),
                                           [](const Guest& guest) { return !guest.rank; });
      auto nonce = random_digest();
      if (static_cast<std::size_t>(strangers) >= kMaxStrangers || !nonce) continue;
      std::string from = format_host_port(peer_address(fd.get()));
      Guest& guest = guests_.emplace_back(std::move(fd), std::move(from));
      guest.challenge.server_nonce = *nonce;
      send(guest, FrameType::kChallenge, encode(guest.challenge));
    }
  }

  void serve(Guest& guest) {
    Status status = guest.connection.flush();
    if (status) status = guest.connection.fill();
    while (!guest.closing) {
      auto frame = guest.connection.next_frame();
      if (!frame) {
        return give_up(guest, std::move(frame).error());
      }
      if (!frame->has_value()) break;
      guest.last_heard = Clock::now();
      if (Status handled = handle(guest, std::move(**frame)); !handled) {
        return give_up(guest, std::move(handled).error());
      }
    }
    if (guest.closing && status && !guest.connection.at_end()) return;
    if (!status) return give_up(guest, std::move(status).error());
    if (guest.connection.at_end()) {
      give_up(guest, Error{ErrorCode::kPeerLost, "its connection closed without goodbye", {}});
    }
  }

  Status handle(Guest& guest, Frame frame) {
    if (!guest.rank) {
      if (frame.type != FrameType::kJoin) return unexpected(frame.type);
      return handle_join(guest, frame.payload);
    }
    const int rank = *guest.rank;
    switch (frame.type) {
      case FrameType::kBeat:
        return {};
      case FrameType::kExchange:
        return handle_exchange(rank, frame.payload);
      case FrameType::kReport:
        if (events_.reported) events_.reported(rank, frame.payload);
        return {};
      case FrameType::kState:
        return pass_on_state(rank, frame.payload);
      case FrameType::kGoodbye:
        guest.closing = guest.left = true;
        ranks_[static_cast<std::size_t>(rank)] = RankState::kLeft;
        check_exchange_possible();
        return {};
      default:
        return unexpected(frame.type);
    }
  }

  static Status unexpected(FrameType type) {
    return fail(ErrorCode::kProtocol, "run the same version on every node",
                "it sent an unexpected message of type {}", static_cast<int>(type));
  }

  Status handle_join(Guest& guest, std::string_view payload) {
    DSL_ASSIGN(const Join join, decode_join(payload));
    DSL_ASSIGN(const Digest expected, prove(options_.secret, Role::kRank, guest.challenge, join));
    if (!digests_equal(expected, join.proof)) {
      return refuse(guest, Error{ErrorCode::kAuthentication,
                                 "the rendezvous at " + address_ + " refused the secret",
                                 "start the rank with the DSLAUNCH_SECRET of this launch"});
    }
    if (Status admissible = check_admissible(join); !admissible) {
      return refuse(guest, std::move(admissible).error());
    }
    DSL_ASSIGN(const Digest proof, prove(options_.secret, Role::kServer, guest.challenge, join));
    guest.rank = static_cast<int>(join.rank);
    guest.connection.set_max_frame(kMaxFrame);
    ranks_[join.rank] = RankState::kJoined;
    send(guest, FrameType::kWelcome, encode_proof(proof));
    if (shut_down_) send(guest, FrameType::kShutdown, "");
    if (events_.joined) events_.joined(*guest.rank);
    return {};
  }

  Status check_admissible(const Join& join) const {
    if (failure_) return tl::unexpected(Error(*failure_).within("the world has failed already"));
    if (join.world_size != static_cast<std::uint32_t>(options_.world_size)) {
      return fail(ErrorCode::kRendezvous, "start every rank with the same --tp and --pp",
                  "rank {} came with a world of {} ranks: expected {}", join.rank, join.world_size,
                  options_.world_size);
    }
    if (join.rank >= join.world_size) {
      return fail(ErrorCode::kRendezvous, "number the ranks from 0",
                  "rank {}: expected less than {}", join.rank, join.world_size);
    }
    if (ranks_[join.rank] != RankState::kAbsent) {
      return fail(ErrorCode::kRendezvous, "start each rank once", "rank {} has joined already",
                  join.rank);
    }
    return {};
  }

  Status refuse(Guest& guest, Error error) {
    // Ranks that come behind a failure are no news beside it.
    const LogLevel level = failure_ ? LogLevel::kInfo : LogLevel::kWarning;
    log(level, "rendezvous refused {}: {}", guest.address, error.message);
    PayloadWriter payload;
    write_error(payload, error);
    send(guest, FrameType::kRefused, payload.take());
    guest.closing = true;
    return {};
  }

  Status handle_exchange(int rank, std::string_view payload) {
    PayloadReader reader(payload);
    DSL_ASSIGN(const std::uint32_t round, reader.u32());
    DSL_ASSIGN(std::string blob, reader.text());
    DSL_TRY(reader.finish());
    DSL_TRY(round_.add(rank, round, std::move(blob)));
    if (const auto blobs = round_.take_if_complete()) {
      PayloadWriter gathered;
      gathered.u32(round);
      for (const std::string& each : *blobs) gathered.text(each);
      send_to_ranks(FrameType::kGathered, gathered.take());
    }
    check_exchange_possible();
    return {};
  }

  Status pass_on_state(int rank, std::string_view state) {
    if (state.size() > kMaxBlobBytes) {
      return fail(ErrorCode::kProtocol, "run the same version on every node",
                  "it told a state of {} bytes: expected at most {}", state.size(), kMaxBlobBytes);
    }
    PayloadWriter payload;
    payload.u32(static_cast<std::uint32_t>(rank)).text(state);
    const std::string told = payload.take();
    for (Guest& guest : guests_) {
      if (guest.rank == 0 && !guest.closing) send(guest, FrameType::kState, told);
    }
    return {};
  }

  /// Ranks that wait for a blob of a rank that has left would wait in vain.
  void check_exchange_possible() {
    for (const int rank : round_.missing()) {
      if (ranks_[static_cast<std::size_t>(rank)] == RankState::kLeft) {
        return fail_world(rank, Error{ErrorCode::kPeerLost,
                                      fmt::format("rank {} left while others wait for it", rank),
                                      std::string(kRankRemedy)});
      }
    }
  }

  /// Drops the connection; of a rank that did not say goodbye it is the world's failure.
  void give_up(Guest& guest, Error error) {
    if (guest.rank && !guest.left) {
      const int rank = *guest.rank;
      guest.left = true;
      fail_world(rank,
                 Error{error.code,
                       fmt::format("rank {} ({}) is lost: {}", rank, guest.address, error.message),
                       error.remedy.empty() ? std::string(kRankRemedy) : error.remedy});
    } else if (!guest.rank && !guest.closing && error.code != ErrorCode::kPeerLost) {
      log(LogLevel::kWarning, "rendezvous dropped {}: {}", guest.address, error.message);
    }
    guest.closing = true;
    guest.connection.drop_output();
  }

  void fail_world(int rank, Error error) {
    if (failure_ || shut_down_) return;
    failure_ = error;
    PayloadWriter payload;
    payload.u32(static_cast<std::uint32_t>(rank));
    write_error(payload, error);
    send_to_ranks(FrameType::kFailed, payload.take());
    if (events_.failed) events_.failed(rank, *failure_);
  }

  void check_silence() {
    const auto now = Clock::now();
    const auto limit = silence_limit(options_.heartbeat_interval, options_.failure_deadline);
    for (Guest& guest : guests_) {
      const auto silence =
          std::chrono::duration_cast<std::chrono::milliseconds>(now - guest.last_heard);
      if (guest.rank ? silence > limit : silence > kHandshakeTime) {
        give_up(guest, Error{ErrorCode::kPeerHung, fmt::format("silent for {} ms", silence.count()),
                             "look for a stopped process, an overloaded host or a cut network"});
      }
    }
  }

  void beat() {
    const std::vector<int> missing = round_.missing();
    PayloadWriter payload;
    payload.u32(round_.number()).u32(static_cast<std::uint32_t>(missing.size()));
    for (const int rank : missing) payload.u32(static_cast<std::uint32_t>(rank));
    send_to_ranks(FrameType::kBeat, payload.take());
  }

  void send_to_ranks(FrameType type, std::string_view payload) {
    for (Guest& guest : guests_) {
      if (guest.rank && !guest.closing) send(guest, type, payload);
    }
  }

  /// An unwritable connection is left to serve() and check_silence(): failing here would re-enter
  /// fail_world().
  void send(Guest& guest, FrameType type, std::string_view payload) {
    if (guest.connection.queue(type, payload)) (void)guest.connection.flush();
  }

  const RendezvousServerOptions options_;
  const RendezvousEvents events_;
  const UniqueFd listener_;
  const UniqueFd event_;
  const std::string address_;

  // Of the server's thread.
  std::list<Guest> guests_;
  ExchangeRound round_;
  std::vector<RankState> ranks_;
  std::optional<Error> failure_;
  bool shut_down_ = false;

  std::mutex mutex_;
  std::vector<std::pair<int, Error>> declared_;
  bool shutdown_requested_ = false;
  bool stopping_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

Result<std::unique_ptr<RendezvousServer>> RendezvousServer::start(RendezvousServerOptions options,
                                                                  RendezvousEvents events) {
  if (options.world_size < 1 || options.world_size > kMaxWorldSize || options.secret.empty()) {
    return fail(
        ErrorCode::kInvalidArgument, "",
        "rendezvous of {} ranks with a secret of {} characters: expected 1 to {} and a secret",
        options.world_size, options.secret.size(), kMaxWorldSize);
  }
  DSL_ASSIGN(UniqueFd listener, listen_tcp(options.listen_host));
  DSL_ASSIGN(UniqueFd event, make_event());
  return std::make_unique<Server>(std::move(options), std::move(events), std::move(listener),
                                  std::move(event));
}

}  // namespace dsl::bootstrap
