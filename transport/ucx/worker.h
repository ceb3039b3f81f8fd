// A UCX context with one worker and its endpoints: tagged messages with peers whose failure UCX
// notices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "transport/base/bytes.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/wire/wire.h"

struct ucp_context;
struct ucp_worker;
struct ucp_ep;

namespace dsl::ucx {

/// An endpoint. Owned by its worker.
struct Link {
  ucp_ep* endpoint = nullptr;
  bool failed = false;
  std::string reason;  // UCX's words, when failed
};

/// A started send or receive. The worker's poll() moves it to done; a done transfer owns nothing of
/// UCX.
struct Transfer {
  enum class Direction { kSend, kReceive };
  Direction direction = Direction::kSend;
  void* request = nullptr;  // while in progress
  int status = 0;           // ucs_status_t, when done
  std::size_t size = 0;     // asked for
  std::size_t received = 0;
};

/// Owns the UCX objects; destroys them without any exchange with the peers. Thread-compatible.
class Worker {
 public:
  static Result<std::unique_ptr<Worker>> create();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// What peers connect to; at most some kilobytes.
  const std::string& address() const { return address_; }
  /// Readable when there is something to progress, after arm().
  int event_fd() const { return event_fd_; }

  /// An endpoint to the worker with that address.
  Result<Link*> connect(const std::string& address);
  /// The text of ucp_ep_print_info.
  std::string describe(const Link& link) const;

  /// Whether UCX was built for such memory and finds what it needs for it on this machine.
  bool carries(wire::MemoryType memory) const;
  Transfer send(Link& link, std::uint64_t tag, ConstBytes data, wire::MemoryType memory);
  Transfer receive(std::uint64_t tag, MutableBytes data, wire::MemoryType memory);

  /// True when something happened.
  bool progress();
  /// Asks for an event on event_fd(); false when there is something to progress at once.
  bool arm();
  /// True when the transfer is done.
  bool poll(Transfer& transfer);
  /// The outcome of a done transfer in the words of UCX; kProtocol when the sizes differ.
  Status outcome(const Transfer& transfer) const;

  /// Ends a receive that no message has matched; true when it is done, so that its buffer is free.
  bool cancel_receive(Transfer& transfer);
  /// Fails the link and all its transfers at once.
  void force_close(Link& link);
  /// Hands what was sent to the network, as far as the deadline allows.
  void flush(Deadline deadline);
  /// Lets go of a transfer that cannot be ended. The worker must not be progressed afterwards: UCX
  /// may use the buffer.
  void abandon(Transfer& transfer);
  /// Leaves the UCX objects to the end of the process: UCX 1.13 fails an assertion when an endpoint
  /// that is still connecting is destroyed.
  void forsake();

 private:
  Worker() = default;
  Status open();
  Transfer started(Transfer::Direction direction, void* request, std::size_t size);

  ucp_context* context_ = nullptr;
  ucp_worker* worker_ = nullptr;
  std::uint64_t memory_types_ = 0;  // that UCX carries: a bit for each ucs_memory_type_t
  int event_fd_ = -1;               // UCX's
  std::string address_;
  std::vector<std::unique_ptr<Link>> links_;
};

}  // namespace dsl::ucx
