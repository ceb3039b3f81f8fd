#include "launcher/deployment/record_keeper.h"

#include "launcher/deployment/secret_store.h"
#include "launcher/process/process_identity.h"
#include "transport/base/log.h"

namespace dsl::launcher {

void RecordKeeper::write() {
  look();
  const Status written = registry_.update(record_);
  if (!written) log(LogLevel::kWarning, "the record: {}", written.error().to_string());
}

void RecordKeeper::look() {
  const Status restored = registry_.restore(record_);
  if (!restored && !cannot_restore_) {
    log(LogLevel::kWarning, "the record: {}", restored.error().to_string());
  }
  cannot_restore_ = !restored;
}

void RecordKeeper::write_failure(const Error& error) {
  record_.state = DeploymentState::kFailed;
  record_.error = error;
  write();
}

Result<DeploymentRecord> take_record(DeploymentRecord record, Allocator& allocator,
                                     Registry& registry) {
  record.state = DeploymentState::kStarting;
  record.owner = this_process();
  DSL_ASSIGN(record.allocation_id, allocator.own_id());
  DSL_ASSIGN(const std::vector<Node> nodes, allocator.nodes());
  for (const Node& node : nodes) record.nodes.push_back(node.name);
  if (record.launch_id.empty()) {
    DSL_ASSIGN(record.launch_id, make_launch_id());
    DSL_TRY(registry.create(record));
  }
  DSL_TRY(registry.update(record));
  return record;
}

}  // namespace dsl::launcher
