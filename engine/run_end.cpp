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

}  // namespace

void RunEnd::suspect(const Error& error) {
  std::thread([this, error] {
    std::this_thread::sleep_for(kVerdictPatience);
    set(error);
  }).detach();
}

void RunEnd::set(std::optional<Error> failure) {
  {
    const std::scoped_lock lock(mutex_);
    if (is_set_) return;
    is_set_ = true;
    failure_ = std::move(failure);
  }
  changed_.notify_all();
  std::thread([this] { enforce(); }).detach();
}

std::optional<Error> RunEnd::failure() const {
  const std::scoped_lock lock(mutex_);
  return failure_;
}

void RunEnd::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return is_set_; });
}

/// Runs in a thread of its own, which the end of the process ends.
void RunEnd::enforce() const {
  if (is_serving_) std::this_thread::sleep_for(kEndPatience);
  const std::optional<Error> failure = this->failure();
  if (failure) log(LogLevel::kError, "{}", failure->to_string());
  std::_Exit(failure ? exit_code(failure->code) : 0);
}

}  // namespace dsl
