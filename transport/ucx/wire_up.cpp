#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <utility>

#include "transport/bootstrap/frame.h"
#include "transport/ucx/connected_wire.h"
#include "transport/ucx/host_identity.h"
#include "transport/ucx/lanes.h"
#include "transport/ucx/ucx_wire.h"
#include "transport/verbs/rdma_devices.h"

namespace dsl::ucx {
namespace {

using bootstrap::PayloadReader;
using bootstrap::PayloadWriter;

constexpr std::chrono::microseconds kDefaultSpin{200};
constexpr std::chrono::microseconds kNap{100};
constexpr wire::Tag kProbeTag = wire::make_tag(wire::Channel{15}, 0, 0);
constexpr std::size_t kProbeBytes = 32 * 1024;  // large enough for the path of large messages

/// What ranks tell each other before they choose how to connect.
struct Introduction {
  std::string host;
  std::uint32_t pid = 0;
  bool has_rdma = false;
  std::string cpus;  // that the rank may use, as a cpu_set_t

  std::string encode() const {
    return PayloadWriter().text(host).u32(pid).u32(has_rdma).text(cpus).take();
  }
  static Result<Introduction> decode(std::string_view blob) {
    PayloadReader reader(blob);
    Introduction result;
    DSL_ASSIGN(result.host, reader.text());
    DSL_ASSIGN(result.pid, reader.u32());
    DSL_ASSIGN(const std::uint32_t has_rdma, reader.u32());
    DSL_ASSIGN(result.cpus, reader.text());
    DSL_TRY(reader.finish());
    result.has_rdma = has_rdma != 0;
    return result;
  }
};

std::string usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof(set), &set);
  return {reinterpret_cast<const char*>(&set), sizeof(set)};
}

/// One connection attempt of one rank.
class WireUp {
 public:
  WireUp(bootstrap::Membership& membership, UcxOptions options, Deadline deadline)
      : membership_(membership), options_(std::move(options)), deadline_(deadline) {}

  Result<std::unique_ptr<wire::Wire>> run() {
    DSL_TRY(introduce());
    DSL_TRY(create_wire());
    if (Status status = connect_all(); !status) {
      wire_->freeze();
      return tl::unexpected(std::move(status).error());
    }
    return std::unique_ptr<wire::Wire>(std::move(wire_));
  }

 private:
  Status connect_all() {
    DSL_TRY(connect_peers());
    DSL_TRY(probe_links());
    DSL_TRY(wire_->update_reports());
    DSL_TRY(check_reports());
    return meet();
  }

  int rank() const { return membership_.rank(); }

  bool on_this_host(std::size_t peer) const { return peers_[peer].host == self().host; }

  const Introduction& self() const { return peers_[static_cast<std::size_t>(rank())]; }

  Status introduce() {
    const auto devices = verbs::list_rdma_devices();
    Introduction mine{.host = host_identity(),
                      .pid = static_cast<std::uint32_t>(::getpid()),
                      .has_rdma = devices && verbs::has_active_port(*devices),
                      .cpus = usable_cpus()};
    DSL_ASSIGN(const std::vector<std::string> blobs,
               membership_.exchange(mine.encode(), deadline_));
    for (const std::string& blob : blobs) {
      DSL_ASSIGN(Introduction introduction, Introduction::decode(blob));
      peers_.push_back(std::move(introduction));
    }
    return {};
  }

  /// Ranks may be bound to CPUs of their own, so that each sees only its own ones.
  bool every_rank_here_has_a_cpu() const {
    cpu_set_t all;
    CPU_ZERO(&all);
    int ranks_here = 0;
    for (const Introduction& peer : peers_) {
      if (peer.host != self().host || peer.cpus.size() != sizeof(cpu_set_t)) continue;
      cpu_set_t theirs;
      std::memcpy(&theirs, peer.cpus.data(), sizeof(theirs));
      CPU_OR(&all, &all, &theirs);
      ++ranks_here;
    }
    return ranks_here <= CPU_COUNT(&all);
  }

  Status create_wire() {
    const auto default_spin =
        every_rank_here_has_a_cpu() ? kDefaultSpin : std::chrono::microseconds(0);
    DSL_ASSIGN(std::unique_ptr<Worker> worker, Worker::create());
    address_ = worker->address();
    DSL_ASSIGN(wire_,
               ConnectedWire::create(rank(), membership_.world_size(),
                                     options_.spin.value_or(default_spin), std::move(worker)));
    return {};
  }

  Status connect_peers() {
    DSL_ASSIGN(const std::vector<std::string> addresses, membership_.exchange(address_, deadline_));
    for (std::size_t peer = 0; peer < addresses.size(); ++peer) {
      if (static_cast<int>(peer) == rank()) continue;
      DSL_TRY(wire_->add_peer(static_cast<int>(peer), addresses[peer]));
      if (on_this_host(peer)) {
        wire_->watch_process(static_cast<int>(peer), static_cast<int>(peers_[peer].pid));
      }
    }
    return {};
  }

  /// Sends and receives one message over every link, so that a link that does not work shows here.
  Status probe_links() {
    std::vector<std::byte> outgoing(kProbeBytes, static_cast<std::byte>(rank()));
    std::vector<std::vector<std::byte>> incoming(peers_.size());
    std::vector<std::pair<int, wire::Request>> pending;
    Status status;
    for (int peer = 0; peer < wire_->world_size() && status; ++peer) {
      if (peer == rank()) continue;
      auto& buffer = incoming[static_cast<std::size_t>(peer)];
      buffer.resize(kProbeBytes);
      const auto receive = wire_->receive(peer, kProbeTag, buffer);
      const auto send = wire_->send(peer, kProbeTag, outgoing);
      if (receive) pending.emplace_back(peer, *receive);
      if (send) pending.emplace_back(peer, *send);
      if (!receive) status = tl::unexpected(receive.error());
      if (!send) status = tl::unexpected(send.error());
    }
    for (const auto& [peer, request] : pending) {
      if (status) status = await(peer, request);
      if (!status) wire_->freeze();
      const Status ended = wire_->wait(request, Deadline::after(std::chrono::seconds(0)));
      if (status) status = ended;
    }
    for (std::size_t peer = 0; peer < incoming.size() && status; ++peer) {
      const auto expected = static_cast<std::byte>(peer);
      if (static_cast<int>(peer) != rank() &&
          std::any_of(incoming[peer].begin(), incoming[peer].end(),
                      [expected](std::byte value) { return value != expected; })) {
        return fail(ErrorCode::kProtocol, "check the hardware of that link",
                    "rank {}: the first message from rank {} arrived corrupt", rank(), peer);
      }
    }
    return status;
  }

  /// Until the request would not block, watching the membership meanwhile.
  Status await(int peer, wire::Request request) {
    while (true) {
      DSL_ASSIGN(const bool done, wire_->done(request));
      if (done) return {};
      if (auto ended = membership_.ended()) return tl::unexpected(*std::move(ended));
      if (deadline_.expired()) {
        return fail(ErrorCode::kDeadlineExceeded,
                    "check the network between the hosts and UCX_NET_DEVICES",
                    "rank {} could not connect to rank {} within the deadline", rank(), peer);
      }
      std::this_thread::sleep_for(kNap);
    }
  }

  Status check_reports() const {
    for (const wire::LinkReport& link : wire_->links()) {
      const auto peer = static_cast<std::size_t>(link.peer);
      if (on_this_host(peer)) continue;
      if (!options_.required_transport.empty() &&
          !fulfils(link.transport, options_.required_transport)) {
        return fail(ErrorCode::kTransportUnavailable,
                    "check the RDMA devices with `dslaunch version --verbose` on both hosts",
                    "the link of ranks {} and {} uses {} ({}): expected {}", rank(), peer,
                    link.transport, link.device, options_.required_transport);
      }
      if (peers_[peer].has_rdma && self().has_rdma && link.transport == "tcp" &&
          !options_.allow_fallback) {
        return fail(
            ErrorCode::kTransportUnavailable,
            "check UCX_TLS and UCX_NET_DEVICES, or allow the fallback",
            "the link of ranks {} and {} fell back to tcp ({}) although both hosts have active "
            "RDMA ports",
            rank(), peer, link.device);
      }
    }
    return {};
  }

  /// Returns when all ranks have come this far; UCX goes on working meanwhile, because peers may
  /// still need it.
  Status meet() {
    std::atomic<bool> met{false};
    Status status;
    std::thread waiter([&] {
      auto blobs = membership_.exchange("", deadline_);
      if (!blobs) status = tl::unexpected(std::move(blobs).error());
      met.store(true);
    });
    while (!met.load()) {
      if (!wire_->progress()) std::this_thread::sleep_for(kNap);
    }
    waiter.join();
    return status;
  }

  bootstrap::Membership& membership_;
  const UcxOptions options_;
  const Deadline deadline_;
  std::vector<Introduction> peers_;
  std::string address_;  // of this rank's worker
  std::unique_ptr<ConnectedWire> wire_;
};

}  // namespace

bool available() { return true; }

Result<std::unique_ptr<wire::Wire>> connect(bootstrap::Membership& membership, UcxOptions options,
                                            Deadline deadline) {
  return WireUp(membership, std::move(options), deadline).run();
}

}  // namespace dsl::ucx
