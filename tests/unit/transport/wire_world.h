// Runs the same code on every rank of a world, over any backend.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/unit/transport/forked_ranks.h"
#include "transport/ucx/ucx_wire.h"
#include "transport/wire/wire.h"

namespace dsl::testing {

enum class Backend { kInproc, kUcx };

std::string backend_name(Backend backend);

/// A rank's part: returns "ok" or what went wrong.
using WireBody = std::function<std::string(wire::Wire& wire)>;

/// Results by rank; inproc ranks are threads, ucx ranks forked processes. A rank without a result
/// within a minute gives "no result".
std::vector<std::string> run_ranks(Backend backend, int world_size, const WireBody& body);

/// What a forked UCX rank does: joins, connects, hooks up failure detection, runs `body`, ends in
/// good order.
std::string run_ucx_rank(const ForkedRanksOptions& world, int rank, const std::string& address,
                         const ucx::UcxOptions& options, const WireBody& body);

}  // namespace dsl::testing
