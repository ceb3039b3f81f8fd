// Whether tokens advance: the heartbeat of an engine with work, a canary for an idle one.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/engine.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// Makes an idle engine generate a token each second, at the lowest priority, so that a wedged one
/// is known within 5 s whether somebody asks or not. Owns the thread that does. Non-owning of the
/// engine, which must outlive it. Thread-safe.
class HealthCheck {
 public:
  explicit HealthCheck(Engine& engine);
  ~HealthCheck();

  /// Why no token advances, or nothing.
  std::optional<Error> problem();

 private:
  void run();

  Engine& engine_;
  std::mutex mutex_;
  std::condition_variable ending_;
  bool is_ending_ = false;        // guarded by mutex_
  std::optional<Error> refusal_;  // guarded by mutex_; of the last canary
  std::thread thread_;
};

}  // namespace dsl::serving
