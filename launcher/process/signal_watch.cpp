#include "launcher/process/signal_watch.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace dsl::launcher {
namespace {

std::atomic<int> interrupted_by{0};

}  // namespace

SignalWatch::SignalWatch(std::function<void(int signal)> on_signal) {
  sigset_t watched;
  ::sigemptyset(&watched);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&watched, signal);
  ::pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  signals_.reset(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  wake_.reset(::eventfd(0, EFD_CLOEXEC));
  thread_ = std::thread([this, on_signal = std::move(on_signal)] {
    while (true) {
      pollfd polled[] = {{signals_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
      if (::poll(polled, 2, -1) < 0 && errno != EINTR) return;
      if ((polled[1].revents & POLLIN) != 0) return;
      signalfd_siginfo info = {};
      while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
        on_signal(static_cast<int>(info.ssi_signo));
      }
    }
  });
}

SignalWatch::~SignalWatch() {
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

Error interruption(int signal) {
  interrupted_by = signal;
  const char* name = ::sigabbrev_np(signal);
  return {ErrorCode::kCancelled, fmt::format("stopped by SIG{}", name != nullptr ? name : "NAL"),
          ""};
}

std::optional<int> interruption_exit_code() {
  const int signal = interrupted_by;
  return signal == 0 ? std::nullopt : std::optional(128 + signal);
}

}  // namespace dsl::launcher
