// A background thread of the bootstrap layer.
#pragma once

#include <signal.h>

#include <thread>
#include <utility>

namespace dsl::bootstrap {

/// Starts a thread that takes no signals: they belong to the program's main thread.
template <typename Function>
std::thread start_service_thread(Function function) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(function));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace dsl::bootstrap
