// What rank 0 knows of every rank of its world.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/serving/engine_port/rank_state.h"

namespace dsl::serving {

/// A rank that is well tells of itself twice a second.
inline constexpr std::chrono::milliseconds kRankSilenceLimit{2000};
/// The same as for the engine as a whole: long for one layer.
inline constexpr std::chrono::milliseconds kRankStepPatience{3000};

struct RankProblem {
  std::string reason;
  double since_s = 0;
};

struct RankReport {
  int rank = 0;
  std::optional<RankState> state;  // the last one; none: nothing was heard yet
  double age_s = 0;                // of what is known
  std::optional<RankProblem> problem;
};

/// Each rank is judged by what it told itself: one that waits for a peer is well. Thread-safe.
class RankBoard {
 public:
  using Clock = std::chrono::steady_clock;

  /// `own` reads the state of rank 0; it is called by whoever asks for reports.
  RankBoard(int world_size, std::function<RankState()> own, Clock::time_point now = Clock::now());

  /// What a rank above 0 tells; what cannot be read counts as silence, and is logged once a rank.
  void hear(int rank, std::string_view text, Clock::time_point now = Clock::now());

  /// One a rank, in order.
  std::vector<RankReport> reports(Clock::time_point now = Clock::now()) const;

 private:
  struct Heard {
    std::optional<RankState> state;
    Clock::time_point when;
    Clock::time_point node_when;
    bool is_unreadable = false;
  };

  const std::function<RankState()> own_;
  mutable std::mutex mutex_;
  std::vector<Heard> others_;  // guarded by mutex_; of the ranks from 1 on
};

/// "rank 2: it has told nothing of itself for 2.4 s; …": all that have a problem; empty when none
/// has.
std::string problems_of(const std::vector<RankReport>& reports);

}  // namespace dsl::serving
