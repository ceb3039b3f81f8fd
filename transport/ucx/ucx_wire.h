// The Wire over UCX: shared memory inside a host, RDMA or TCP between hosts, as UCX selects.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/bootstrap/rendezvous.h"
#include "transport/wire/wire.h"

namespace dsl::ucx {

/// UCX's own variables (UCX_TLS, UCX_NET_DEVICES, ...) are honoured; what the user set is never
/// overridden.
struct UcxOptions {
  /// What every link between two hosts must use: "rc_verbs", "tcp", ... or "rdma" for any RDMA
  /// transport. Another outcome is kTransportUnavailable. Empty: whatever UCX selects.
  std::string required_transport;
  /// Accept a link over TCP although both its ends have an active RDMA port.
  bool allow_fallback = false;
  /// How long a waiting thread polls before it sleeps; by default 200 us, or nothing on a host
  /// whose ranks have fewer CPUs together than they are.
  std::optional<std::chrono::microseconds> spin = std::nullopt;
};

/// Connects all ranks of the membership's world with each other; every rank calls it at the same
/// point. Uses membership.exchange(); the membership must outlive the call only. The caller
/// connects failure detection:
///   membership->on_end([wire](const Error& error) { wire->abort(error); });
/// kPeerLost or kDeadlineExceeded names the rank that could not be reached.
Result<std::unique_ptr<wire::Wire>> connect(bootstrap::Membership& membership, UcxOptions options,
                                            Deadline deadline);

/// True when this build contains UCX; without it connect() is kTransportUnavailable.
bool available();

}  // namespace dsl::ucx
