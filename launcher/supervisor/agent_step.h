// Ranks on other nodes: one child (srun) runs an agent per node, whose lines tell how the ranks
// end.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/supervisor/rank_runner.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// The line that an agent prints when a rank has ended, without its line break.
std::string to_json_line(const RankExit& exit);
/// Reads such a line; kProtocol otherwise.
Result<RankExit> parse_exit_line(std::string_view line);

/// A RankRunner over one child process and a thread that reads it.
class AgentStep : public RankRunner {
 public:
  /// Call from a thread that lives as long as the step.
  static Result<std::unique_ptr<AgentStep>> start(const std::vector<std::string>& command,
                                                  const std::vector<std::string>& environment,
                                                  int num_ranks, RankExitSink on_exit);
  ~AgentStep() override;

  void terminate() override;
  void kill() override;
  bool wait(Deadline deadline) override;

 private:
  struct Impl;
  explicit AgentStep(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsl::launcher
