// A running part's own side of its record.
#pragma once

#include <chrono>

#include "launcher/cluster/allocator.h"
#include "launcher/deployment/registry.h"

namespace dsl::launcher {

/// A registry that fails for a while does not end a part that serves: problems are logged.
/// Thread-compatible.
class RecordKeeper {
 public:
  RecordKeeper(Registry& registry, DeploymentRecord record)
      : registry_(registry), record_(std::move(record)) {}

  DeploymentRecord& record() { return record_; }
  void write();
  void write_failure(const Error& error);
  /// Writes the record when it is gone; to be called every kLookInterval, for as long as the part
  /// does not end.
  void look();

  static constexpr std::chrono::milliseconds kLookInterval{1000};

 private:
  Registry& registry_;
  DeploymentRecord record_;
  bool cannot_restore_ = false;  // told already
};

/// Fills in what the part's program knows of itself (owner, allocation, nodes) and writes the
/// record over the one that `up` made. Without a launch id it makes its own: sbatch by hand.
Result<DeploymentRecord> take_record(DeploymentRecord record, Allocator& allocator,
                                     Registry& registry);

}  // namespace dsl::launcher
