// The JSON objects that a rank reports to the owner of its world (docs/process-contract.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "transport/base/error.h"
#include "transport/wire/wire.h"

namespace dsl::serving {

std::string load_report(const LoadProgress& progress);

struct ReadyReport {
  std::string endpoint;  // of the engine port; empty on ranks without one
  std::vector<wire::LinkReport> links;
  EngineInfo info;
};
std::string ready_report(const ReadyReport& ready);

/// The last report of a rank that ends because of `error`.
std::string error_report(const Error& error);

}  // namespace dsl::serving
