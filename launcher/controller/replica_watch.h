// What the registry says of a deployment's replicas, asked again and again on a thread of its own:
// a Slurm controller that does not answer must not hold up the services.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "launcher/deployment/registry.h"

namespace dsl::launcher {

/// Owns its registry. Thread-safe.
class ReplicaWatch {
 public:
  ReplicaWatch(std::unique_ptr<Registry> registry, DeploymentRecord services,
               std::chrono::milliseconds interval);
  ~ReplicaWatch();
  ReplicaWatch(const ReplicaWatch&) = delete;
  ReplicaWatch& operator=(const ReplicaWatch&) = delete;

  /// The replicas of the launch at the last answer; none before the first.
  std::optional<std::vector<DeploymentRecord>> latest() const;
  /// True when replicas have been seen and two answers in a row had no live one any more. A local
  /// replica whose record alone is gone lives, and stays in latest().
  bool all_gone() const;

 private:
  void watch();
  void take(std::vector<DeploymentRecord> records);

  std::unique_ptr<Registry> registry_;
  DeploymentRecord services_;
  std::chrono::milliseconds interval_;
  mutable std::mutex mutex_;
  std::condition_variable closed_;
  bool closing_ = false;
  std::optional<std::vector<DeploymentRecord>> latest_;
  bool seen_ = false;
  int num_empty_ = 0;  // answers in a row
  std::thread thread_;
};

}  // namespace dsl::launcher
