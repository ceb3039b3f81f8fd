// Puts a deadline on every call of a client whose calls may block.
#pragma once

#include <chrono>
#include <memory>

#include "slurm/client.h"

namespace dsl::slurm {

/// Serves the calls of `inner` on a thread of its own and stops waiting at the deadline of the call
/// or after `call_limit`, whichever is first, with kSlurmController. A call that has not begun by
/// then never begins; a submission that succeeds after its caller left is cancelled. Thread-safe.
std::unique_ptr<Client> make_bounded_client(std::unique_ptr<Client> inner,
                                            std::chrono::milliseconds call_limit);

}  // namespace dsl::slurm
