#include "launcher/supervisor/verdict.h"

#include <algorithm>
#include <csignal>

#include "launcher/plan/world_plan.h"

namespace dsl::launcher {
namespace {

constexpr int kPeerExitCode = 5;  // of errors of peers and transport (docs/errors.md)

/// Ended for a reason of its own, not because another rank was lost.
bool is_own_fault(const RankExit& exit) {
  if (exit.status.signal != 0) return true;
  if (exit.status.code == 0) return false;
  if (exit.status.code != kPeerExitCode) return true;
  return exit.error && exit.error->code != ErrorCode::kPeerLost &&
         exit.error->code != ErrorCode::kPeerHung && exit.error->code != ErrorCode::kTransport;
}

std::string_view remedy_of(const ExitStatus& status) {
  if (status.signal == SIGKILL) {
    return "see whether the kernel ended it for lack of memory (dmesg), or who else did";
  }
  return "see its log (dslaunch logs), and start again";
}

}  // namespace

void Verdict::add_exit(const RankExit& exit) { exits_.push_back(exit); }

void Verdict::add_detected(int rank, Error error) {
  if (!detected_) detected_ = Detected{rank, std::move(error)};
}

const RankExit* Verdict::cause() const {
  const auto own_fault = std::find_if(exits_.begin(), exits_.end(), is_own_fault);
  if (own_fault != exits_.end()) return &*own_fault;
  if (detected_) return nullptr;
  return exits_.empty() ? nullptr : &exits_.front();
}

bool Verdict::is_final() const { return std::any_of(exits_.begin(), exits_.end(), is_own_fault); }

Error Verdict::error() const {
  const RankExit* exit = cause();
  if (exit == nullptr) {
    if (detected_) {
      return Error{detected_->error}.within(describe_rank(detected_->rank, tp_));
    }
    return Error{ErrorCode::kInternal, "no rank has failed", ""};
  }
  const std::string who = exit->rank ? describe_rank(*exit->rank, tp_) : "the step of the ranks";
  if (exit->error) return Error{*exit->error}.within(who);
  std::string message = fmt::format("{} {}", who, exit->status.to_string());
  if (!exit->last_line.empty()) message += fmt::format("; its last line: {}", exit->last_line);
  return Error{ErrorCode::kRankFailed, std::move(message), std::string(remedy_of(exit->status))};
}

}  // namespace dsl::launcher
