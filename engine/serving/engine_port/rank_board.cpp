#include "engine/serving/engine_port/rank_board.h"

#include <utility>

#include "transport/base/log.h"

namespace dsl::serving {
namespace {

double in_seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// A rank that waits for another one is not to blame.
std::optional<RankProblem> step_problem(const RankState& state) {
  if (!state.is_in_step || state.wait || state.silence_s <= in_seconds(kRankStepPatience))
    return {};
  return RankProblem{fmt::format("nothing has moved in its step for {:.1f} s", state.silence_s),
                     state.silence_s};
}

}  // namespace

RankBoard::RankBoard(int world_size, std::function<RankState()> own, Clock::time_point now)
    : own_(std::move(own)), others_(static_cast<std::size_t>(world_size - 1)) {
  for (Heard& heard : others_) heard.when = now;
}

void RankBoard::hear(int rank, std::string_view text, Clock::time_point now) {
  auto state = decode_rank_state(text);
  const std::scoped_lock lock(mutex_);
  if (rank < 1 || static_cast<std::size_t>(rank) > others_.size()) return;
  Heard& heard = others_[static_cast<std::size_t>(rank - 1)];
  if (state) {
    if (state->node) {
      heard.node_when = now;
    } else if (heard.state) {
      state->node = std::move(heard.state->node);
    }
    heard.state = *std::move(state);
    heard.when = now;
  } else if (!std::exchange(heard.is_unreadable, true)) {
    log(LogLevel::kWarning, "rank {}: {}", rank, state.error().to_string());
  }
}

std::vector<RankReport> RankBoard::reports(Clock::time_point now) const {
  std::vector<RankReport> reports;
  RankReport own;
  own.state = own_();
  own.problem = step_problem(*own.state);
  reports.push_back(std::move(own));
  const std::scoped_lock lock(mutex_);
  for (const Heard& heard : others_) {
    RankReport report;
    report.rank = static_cast<int>(reports.size());
    report.state = heard.state;
    if (report.state && now - heard.node_when > kNodeAgeLimit) report.state->node.reset();
    report.age_s = std::max(in_seconds(now - heard.when), 0.0);
    if (now - heard.when > kRankSilenceLimit) {
      report.problem = RankProblem{
          fmt::format("it has told nothing of itself for {:.1f} s", report.age_s), report.age_s};
    } else if (heard.state) {
      report.problem = step_problem(*heard.state);
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

std::string problems_of(const std::vector<RankReport>& reports) {
  std::string text;
  for (const RankReport& report : reports) {
    if (!report.problem) continue;
    text +=
        fmt::format("{}rank {}: {}", text.empty() ? "" : "; ", report.rank, report.problem->reason);
  }
  return text;
}

}  // namespace dsl::serving
