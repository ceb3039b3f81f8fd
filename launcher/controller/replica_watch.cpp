#include "launcher/controller/replica_watch.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "launcher/process/process_identity.h"
#include "transport/base/log.h"

namespace dsl::launcher {
namespace {

constexpr int kCertain = 2;

/// The replicas seen before that live although the registry has lost their records. They will write
/// them again. On Slurm a record cannot be lost, and nobody here could tell who lives.
std::vector<DeploymentRecord> without_record(
    const std::optional<std::vector<DeploymentRecord>>& before,
    const std::vector<DeploymentRecord>& now) {
  std::vector<DeploymentRecord> found;
  if (!before) return found;
  std::copy_if(before->begin(), before->end(), std::back_inserter(found),
               [&](const DeploymentRecord& replica) {
                 const bool is_told = std::any_of(now.begin(), now.end(), [&](const auto& other) {
                   return is_same_part(other, replica);
                 });
                 return !is_told && replica.cluster == ClusterKind::kLocal &&
                        replica.state != DeploymentState::kFailed && is_alive(replica.owner);
               });
  return found;
}

}  // namespace

ReplicaWatch::ReplicaWatch(std::unique_ptr<Registry> registry, DeploymentRecord services,
                           std::chrono::milliseconds interval)
    : registry_(std::move(registry)), services_(std::move(services)), interval_(interval) {
  thread_ = std::thread([this] { watch(); });
}

ReplicaWatch::~ReplicaWatch() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  closed_.notify_all();
  thread_.join();
}

void ReplicaWatch::take(std::vector<DeploymentRecord> records) {
  std::erase_if(records, [&](const DeploymentRecord& record) {
    return record.part != DeploymentPart::kReplica || record.name != services_.name ||
           record.launch_id != services_.launch_id;
  });
  const std::lock_guard lock(mutex_);
  for (DeploymentRecord& replica : without_record(latest_, records)) {
    records.push_back(std::move(replica));
  }
  sort_records(records);
  const bool lives = std::any_of(
      records.begin(), records.end(),
      [](const DeploymentRecord& record) { return record.state != DeploymentState::kFailed; });
  seen_ = seen_ || lives;
  num_empty_ = lives ? 0 : num_empty_ + 1;
  latest_ = std::move(records);
}

void ReplicaWatch::watch() {
  bool failing = false;
  while (true) {
    Result<std::vector<DeploymentRecord>> records = registry_->list();
    const bool was_failing = std::exchange(failing, !records);
    if (records) {
      take(*std::move(records));
    } else if (!was_failing) {
      log(LogLevel::kWarning, "replicas are as last seen: {}", records.error().to_string());
    }
    std::unique_lock lock(mutex_);
    if (closed_.wait_for(lock, interval_, [this] { return closing_; })) return;
  }
}

std::optional<std::vector<DeploymentRecord>> ReplicaWatch::latest() const {
  const std::lock_guard lock(mutex_);
  return latest_;
}

bool ReplicaWatch::all_gone() const {
  const std::lock_guard lock(mutex_);
  return seen_ && num_empty_ >= kCertain;
}

}  // namespace dsl::launcher
