#include "launcher/process/cancellation.h"

namespace dsl::launcher {

void Cancellation::cancel(Error reason) {
  const std::lock_guard lock(mutex_);
  if (reason_.has_value()) return;
  reason_ = std::move(reason);
  if (hook_) hook_();
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
