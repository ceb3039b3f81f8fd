#include "launcher/process/cancellation.h"

namespace dsl::launcher {

void Cancellation::cancel(Error reason) {
  const std::lock_guard lock(mutex_);
  if (reason_.has_value()) return;
  reason_ = std::move(reason);
  cancelled_.notify_all();
  if (hook_) hook_();
}

std::optional<Error> Cancellation::wait(Deadline deadline) {
  std::unique_lock lock(mutex_);
  while (!reason_.has_value() && !deadline.expired()) {
    cancelled_.wait_for(lock, deadline.remaining());
  }
  return reason_;
}

std::optional<Error> Cancellation::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

void Cancellation::set_hook(std::function<void()> hook) {
  const std::lock_guard lock(mutex_);
  hook_ = std::move(hook);
  if (hook_ && reason_.has_value()) hook_();
}

}  // namespace dsl::launcher
