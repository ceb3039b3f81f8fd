#include "engine/serving/process/own_process.h"

#include "engine/serving/http/event_loop.h"

namespace dsl::serving {

EndingSignals::EndingSignals() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

int EndingSignals::wait() const {
  int number = 0;
  sigwait(&signals_, &number);
  return number;
}

std::optional<int> EndingSignals::wait_for(std::chrono::nanoseconds duration) const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  const timespec timeout{seconds.count(), (duration - seconds).count()};
  const int number = sigtimedwait(&signals_, nullptr, &timeout);
  return number < 0 ? std::nullopt : std::optional(number);
}

EndingSignals prepare_process() {
  EndingSignals signals;
  std::signal(SIGPIPE, SIG_IGN);
  raise_open_files_limit();
  return signals;
}

}  // namespace dsl::serving
