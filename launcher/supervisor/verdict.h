// Which rank failed first and why, from the traces that a broken world leaves.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "launcher/supervisor/rank_runner.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Evidence in the order in which it came. Thread-compatible.
///
/// When one rank dies, the others notice and end too (exit code 5); the cause is the rank that was
/// killed or ended for a reason of its own, else the one that the failure detector named, else the
/// first that ended.
class Verdict {
 public:
  explicit Verdict(int tp) : tp_(tp) {}

  void add_exit(const RankExit& exit);
  /// The rendezvous server's news.
  void add_detected(int rank, Error error);

  bool has_evidence() const { return !exits_.empty() || detected_.has_value(); }
  /// True when waiting longer would tell nothing more: the cause's own process has ended.
  bool is_final() const;
  Error error() const;

 private:
  const RankExit* cause() const;

  struct Detected {
    int rank;
    Error error;
  };
  int tp_;
  std::vector<RankExit> exits_;
  std::optional<Detected> detected_;
};

}  // namespace dsl::launcher
