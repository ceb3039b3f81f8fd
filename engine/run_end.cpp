#include "engine/run_end.h"

#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "transport/base/log.h"

namespace dsl {
namespace {

constexpr auto kEndPatience = std::chrono::seconds(4);
/// A broken connection is often only the consequence of another rank's end. The rendezvous server
/// knows better, and gets this long to say so.
constexpr auto kVerdictPatience = std::chrono::seconds(1);
/// Slurm signals an agent and its ranks, and the agent then its ranks: what comes within this time
/// of the first is the same wish.
constexpr auto kSameWish = std::chrono::seconds(1);

}  // namespace

void RunEnd::suspect(const Error& error) {
  std::thread([this, error] {
    std::this_thread::sleep_for(kVerdictPatience);
    set(error);
  }).detach();
}

void RunEnd::set(std::optional<Error> failure) {
  std::chrono::seconds patience{0};
  {
    const std::scoped_lock lock(mutex_);
    if (is_set_) return;
    is_set_ = true;
    failure_ = std::move(failure);
    if (is_serving_) patience = kEndPatience;
  }
  changed_.notify_all();
  std::thread([this, patience] { enforce(patience); }).detach();
}

std::optional<Error> RunEnd::failure() const {
  const std::scoped_lock lock(mutex_);
  return failure_;
}

void RunEnd::ask() {
  const auto now = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  if (asked_ && now - *asked_ < kSameWish) return;
  const bool may_drain = is_serving_ && !asked_ && drain_timeout_.count() > 0;
  asked_ = asked_.value_or(now);
  const auto timeout = drain_timeout_;
  lock.unlock();
  if (!may_drain) return set(std::nullopt);
  changed_.notify_all();
  std::thread([this, timeout] {
    std::this_thread::sleep_for(timeout);
    set(std::nullopt);
  }).detach();
}

void RunEnd::mark_serving(std::chrono::seconds drain_timeout) {
  const std::scoped_lock lock(mutex_);
  is_serving_ = true;
  drain_timeout_ = drain_timeout;
}

void RunEnd::wait_for_drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return is_set_ || asked_; });
}

void RunEnd::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return is_set_; });
}

bool RunEnd::wait_for(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, duration, [this] { return is_set_; });
}

/// Runs in a thread of its own, which the end of the process ends.
void RunEnd::enforce(std::chrono::seconds patience) const {
  std::this_thread::sleep_for(patience);
  const std::optional<Error> failure = this->failure();
  if (failure) log(LogLevel::kError, "{}", failure->to_string());
  std::_Exit(failure ? exit_code(failure->code) : 0);
}

}  // namespace dsl
