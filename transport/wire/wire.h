// Point-to-point messages among the ranks of a world: the interface every transport backend
// implements.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/bytes.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::wire {

/// Matches a message together with its sender. make_tag keeps independent streams apart. Only the
/// low kTagBits are used: a backend whose matching knows no sender puts the sender's rank above
/// them.
enum class Tag : std::uint64_t {};
inline constexpr int kTagBits = 52;
inline constexpr int kMaxWorldSize = 1 << (64 - kTagBits);

/// What a tag is for; the high bits of a Tag. At most 15.
enum class Channel : std::uint8_t {
  kPlan = 1,
  kActivation = 2,
  kTokens = 3,
  kCollective = 4,
  kTest = 5
};

/// `sequence` distinguishes messages of one channel and wraps at 2^40. Messages with equal sender
/// and tag arrive in the order in which they were sent.
constexpr Tag make_tag(Channel channel, std::uint8_t lane, std::uint64_t sequence) {
  return Tag{(std::uint64_t{static_cast<std::uint8_t>(channel)} << 48) |
             (std::uint64_t{lane} << 40) | (sequence & ((std::uint64_t{1} << 40) - 1))};
}

/// The transport that a link really uses, as reported by the backend.
struct LinkReport {
  int peer = 0;
  std::string transport;  // "inproc", "shm(posix)", "tcp", "rc_verbs", ...
  std::string device;     // "memory", "eth0", "rxe0:1", ...; empty when unknown
};

/// Where the bytes of a message lie.
enum class MemoryType : std::uint8_t { kHost, kCuda };

/// "host" or "cuda", as UCX calls them.
constexpr std::string_view name_of(MemoryType memory) {
  return memory == MemoryType::kHost ? "host" : "cuda";
}

/// A started operation. Handed back to the Wire that made it, exactly once, through wait().
struct Request {
  std::uint64_t id = 0;
};

/// One rank's connections to all others. Thread-compatible: used by one thread at a time, except
/// abort().
class Wire {
 public:
  virtual ~Wire() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  /// Whether messages may lie in such memory of this process; kHost always may. A peer may keep its
  /// end of a message in memory of another type, if its own wire carries that.
  virtual bool carries(MemoryType memory) const = 0;
  /// Starts a send to another rank; `data` must stay valid and unchanged until wait() returns. What
  /// writes memory of a device must have run, and the device be current on every thread that calls
  /// the wire.
  virtual Result<Request> send(int peer, Tag tag, ConstBytes data, MemoryType memory) = 0;
  Result<Request> send(int peer, Tag tag, ConstBytes data) {
    return send(peer, tag, data, MemoryType::kHost);
  }
  /// Starts a receive of exactly data.size() bytes; a message of another size is kProtocol.
  virtual Result<Request> receive(int peer, Tag tag, MutableBytes data, MemoryType memory) = 0;
  Result<Request> receive(int peer, Tag tag, MutableBytes data) {
    return receive(peer, tag, data, MemoryType::kHost);
  }
  /// Ends an operation. A dead peer is kPeerLost, an expired deadline kDeadlineExceeded; both name
  /// the peer. After any error but kProtocol the link to that peer may be closed: the operation's
  /// buffer is free in every case.
  virtual Status wait(Request request, Deadline deadline) = 0;
  /// True when wait() would not block. Also progresses the backend.
  virtual Result<bool> done(Request request) = 0;

  /// One report per peer, after the links carried their first message.
  virtual std::vector<LinkReport> links() const = 0;

  /// Fails all pending and later operations with `reason`. Thread-safe: the failure detector calls
  /// it.
  virtual void abort(Error reason) = 0;
};

}  // namespace dsl::wire
