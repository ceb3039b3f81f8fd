// The ranks of this node as child processes: started, bound to cores, watched, logged, and ended
// without remains.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "launcher/supervisor/rank_runner.h"

namespace dsl::launcher {

struct RankCommand {
  int rank = 0;
  std::vector<std::string> argv;
  std::vector<int> cpus;  // empty: not bound
};

struct RankGroupOptions {
  std::vector<RankCommand> ranks;
  std::vector<std::string> environment;  // "NAME=value" for all ranks
  std::filesystem::path log_folder;      // rank-N.log each; empty: output is kept for errors only
};

/// A RankRunner over child processes and a thread that watches them.
class RankGroup : public RankRunner {
 public:
  /// Call from a thread that lives as long as the ranks. Either all ranks are started or none is
  /// left.
  static Result<std::unique_ptr<RankGroup>> start(const RankGroupOptions& options,
                                                  RankExitSink on_exit);
  ~RankGroup() override;

  void terminate() override;
  void kill() override;
  bool wait(Deadline deadline) override;

 private:
  struct Impl;
  explicit RankGroup(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsl::launcher
