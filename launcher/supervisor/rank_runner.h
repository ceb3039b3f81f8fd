// Running ranks, wherever they are: children of this process, or of agents on other nodes.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "launcher/process/child_process.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// The end of a rank's process, or of the step that carries the ranks (rank is then empty).
struct RankExit {
  std::optional<int> rank;
  ExitStatus status;
  std::optional<Error> error;  // the last error line that it printed
  std::string last_line;       // the last line that it printed
};

/// Called from the runner's own thread, once per rank.
using RankExitSink = std::function<void(const RankExit&)>;

/// Owns running ranks; none is left when it is gone. Thread-safe.
class RankRunner {
 public:
  virtual ~RankRunner() = default;
  /// Asks all ranks to end in good order (SIGTERM).
  virtual void terminate() = 0;
  /// Ends all ranks by force.
  virtual void kill() = 0;
  /// True when all ranks have ended before the deadline.
  virtual bool wait(Deadline deadline) = 0;
};

}  // namespace dsl::launcher
