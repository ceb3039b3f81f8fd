// How the processes of a world find each other and learn of each other's death, without MPI.
//
// The supervisor (or the one-shot launcher) owns a RendezvousServer: it binds a port first, then
// hands the address to the ranks it starts. Each rank joins with the per-launch secret (HMAC
// challenge, the secret never crosses the network) and keeps the connection: it carries the
// exchange of transport addresses, reports (load progress, readiness) and heartbeats. A rank whose
// connection breaks or whose heartbeats stop is named to all others within the deadline. Ranks end
// themselves when the server goes away.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::bootstrap {

struct RendezvousServerOptions {
  std::string listen_host =
      "127.0.0.1";  // address of the interface to bind; the port is chosen by the system
  int world_size = 1;
  std::string secret;
  std::chrono::milliseconds heartbeat_interval{500};
  std::chrono::milliseconds failure_deadline{5000};
};

/// What the server tells its owner; called from the server's own thread.
struct RendezvousEvents {
  std::function<void(int rank)> joined;
  /// A report() of a rank: one JSON object as text.
  std::function<void(int rank, const std::string& report)> reported;
  /// The first failure of the world; all ranks have been told.
  std::function<void(int rank, const Error& error)> failed;
};

/// Owns the listening socket, one connection per rank and a thread. Thread-safe.
class RendezvousServer {
 public:
  static Result<std::unique_ptr<RendezvousServer>> start(RendezvousServerOptions options,
                                                         RendezvousEvents events);
  virtual ~RendezvousServer() = default;
  /// "host:port" to hand to the ranks.
  virtual std::string address() const = 0;
  /// Tells every rank that `rank` is lost (the agent saw its process end); same path as a broken
  /// connection.
  virtual void declare_failed(int rank, Error error) = 0;
  /// Asks every rank to end in good order; later disconnections are not failures.
  virtual void request_shutdown() = 0;
};

struct MembershipOptions {
  std::string server_address;  // "host:port"
  int rank = 0;
  int world_size = 1;
  std::string secret;
  std::chrono::milliseconds heartbeat_interval{500};
  std::chrono::milliseconds failure_deadline{5000};
};

/// A rank's membership in the world. Owns the connection and a thread that beats and listens. Its
/// destructor says goodbye: the end of the connection is then no failure. Thread-safe.
class Membership {
 public:
  /// kAuthentication: one side does not know the secret; kRendezvous: the rank is taken, another
  /// world size is expected, the world has failed already, or nothing answers at the address before
  /// the deadline.
  static Result<std::unique_ptr<Membership>> join(MembershipOptions options, Deadline deadline);
  virtual ~Membership() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  /// The numeric IP address by which this rank reached the server; peers can reach this host under
  /// it.
  virtual std::string local_host() const = 0;
  /// All-gather of small blobs (at most 64 KiB each) by rank; every rank must call it the same
  /// number of times. kDeadlineExceeded names the ranks that did not call it.
  virtual Result<std::vector<std::string>> exchange(std::string blob, Deadline deadline) = 0;
  /// Sends a JSON object to the server's owner (progress, readiness, statistics).
  virtual Status report(const std::string& json) = 0;
  /// Tells rank 0, through the server, what this rank says of itself: at once and then twice a
  /// second, whatever the rank's other threads do. At most 64 KiB. `state` is called from the
  /// membership's thread and must not block.
  virtual void tell_state(std::function<std::string()> state) = 0;
  /// Rank 0: `heard` gets what the others tell, from the membership's thread.
  virtual void hear_states(std::function<void(int rank, std::string_view state)> heard) = 0;
  /// Called once, from the membership's thread, when a rank failed, the server is gone or shutdown
  /// was asked (code kCancelled); soon after this call if that has happened already. Never called
  /// once destruction has begun.
  virtual void on_end(std::function<void(const Error&)> callback) = 0;
  /// What on_end reports, for code that polls.
  virtual std::optional<Error> ended() const = 0;
};

/// A fresh secret: 32 random bytes in hexadecimal.
Result<std::string> make_secret();

}  // namespace dsl::bootstrap
