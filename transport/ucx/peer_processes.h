// Watches the processes of peers on this host: the kernel tells at once when one ends.
#pragma once

#include <optional>
#include <vector>

#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::ucx {

/// Shared memory links carry no sign of a peer's death; a process descriptor does. Where the kernel
/// offers none, the membership's heartbeats have to do. Thread-compatible.
class PeerProcesses {
 public:
  /// Watches `pid` as the process of `peer`, with an entry in the epoll set that carries `peer` as
  /// its data.
  void watch(int peer, int pid, int epoll_fd);
  /// Stops watching.
  void forget(int peer, int epoll_fd);

 private:
  struct Watched {
    int peer = 0;
    UniqueFd fd;
  };
  std::vector<Watched> watched_;
};

}  // namespace dsl::ucx
