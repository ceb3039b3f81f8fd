// A running part's own side of its record.
#pragma once

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

 private:
  Registry& registry_;
  DeploymentRecord record_;
};

/// Fills in what the part's program knows of itself (owner, allocation, nodes) and writes the
/// record over the one that `up` made. Without a launch id it makes its own: sbatch by hand.
Result<DeploymentRecord> take_record(DeploymentRecord record, Allocator& allocator,
                                     Registry& registry);

}  // namespace dsl::launcher
