// Reads what a node uses again and again, in a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/serving/engine_port/node_usage.h"

namespace dsl::serving {

/// Older figures say nothing of now.
inline constexpr std::chrono::seconds kNodeAgeLimit{10};

/// A driver may hold whoever asks it for as long as it likes, so nobody who answers requests does.
/// Owns the thread; the destructor waits for a reading that goes on. Thread-safe.
class NodeSampler {
 public:
  using Clock = std::chrono::steady_clock;

  explicit NodeSampler(std::function<NodeUsage()> read,
                       std::chrono::milliseconds interval = std::chrono::seconds(1));
  ~NodeSampler();

  /// The last figures, at once; nothing before the first and beyond the age limit.
  std::optional<NodeUsage> latest(Clock::time_point now = Clock::now()) const;

 private:
  void run();

  const std::function<NodeUsage()> read_;
  const std::chrono::milliseconds interval_;
  mutable std::mutex mutex_;
  std::condition_variable ending_;
  bool is_ending_ = false;           // guarded by mutex_
  std::optional<NodeUsage> latest_;  // guarded by mutex_
  Clock::time_point read_at_;        // guarded by mutex_
  std::thread thread_;
};

}  // namespace dsl::serving
