#include "transport/ucx/environment.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "transport/verbs/rdma_devices.h"

namespace dsl::ucx {
namespace {

void set_default(const char* name, const char* value) { ::setenv(name, value, 0); }

}  // namespace

void prepare_environment() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Without these, links with peer-failure detection silently use tcp where shared memory would
    // do, and copy twice where cma copies once. What CMA then does not do, to take memory back from
    // a peer, it never did.
    set_default("UCX_POSIX_ERROR_HANDLING", "y");
    set_default("UCX_SYSV_ERROR_HANDLING", "y");
    set_default("UCX_CMA_MEMORY_INVALIDATE", "y");
    // With peer-failure detection, tcp carries large messages as active messages, not by puts. With
    // the segments of 8 and 64 KiB that UCX chooses, that costs 0.4 of the bandwidth.
    set_default("UCX_TCP_TX_SEG_SIZE", "512k");
    set_default("UCX_TCP_RX_SEG_SIZE", "512k");
    // When a send of unpacked data fails, UCX (1.13 to 1.19 at least) completes it twice and then
    // aborts the process: survivors of a killed rank died with it, 6 times in 400. Without room for
    // the data's addresses tcp packs all that it sends.
    set_default("UCX_TCP_MAX_IOV", "0");
    // UCX would check idle links over ud, and UCX 1.13 aborts the process when ud itself fails, as
    // on a host whose own link goes down. The membership's heartbeats tell of idle peers already.
    set_default("UCX_KEEPALIVE_INTERVAL", "inf");
    const auto devices = verbs::list_rdma_devices();
    const bool soft = devices && std::any_of(devices->begin(), devices->end(),
                                             [](const auto& device) { return device.software; });
    if (!soft) return;
    // Soft-RoCE: ud_verbs drops all packets with the check on, and 7 retries mean infinity there.
    // ud_verbs serves the wire-up only, which must bear emulated machines whose clock UCX
    // misjudges.
    set_default("UCX_UD_VERBS_ETH_DGID_CHECK", "n");
    set_default("UCX_UD_VERBS_TIMEOUT", "60m");
    set_default("UCX_RC_VERBS_RETRY_COUNT", "4");
    set_default("UCX_RC_VERBS_TIMEOUT", "200ms");
  });
}

}  // namespace dsl::ucx
