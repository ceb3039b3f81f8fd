#include "launcher/deployment/registry.h"

#include <algorithm>
#include <tuple>

namespace dsl::launcher {

void sort_records(std::vector<DeploymentRecord>& records) {
  const auto order = [](const DeploymentRecord& record) {
    return std::tie(record.name, record.part, record.replica);
  };
  std::sort(records.begin(), records.end(),
            [&](const auto& a, const auto& b) { return order(a) < order(b); });
}

const DeploymentRecord& standing_for(const std::vector<DeploymentRecord>& parts) {
  const auto ready = std::find_if(parts.begin(), parts.end(), [](const DeploymentRecord& part) {
    return is_replica(part) && part.state == DeploymentState::kReady;
  });
  return ready != parts.end() ? *ready : parts.front();
}

Result<std::vector<DeploymentRecord>> Registry::parts(const std::string& name) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> all, list());
  std::vector<DeploymentRecord> found;
  std::string names;
  std::string last;
  for (const DeploymentRecord& record : all) {
    if (record.name == name) found.push_back(record);
    if (record.name == last) continue;
    last = record.name;
    names += names.empty() ? last : ", " + last;
  }
  if (!found.empty()) return found;
  return fail(ErrorCode::kDeploymentNotFound, "see: dslaunch status",
              "there is no deployment \"{}\" of this user (there {})", name,
              names.empty() ? "is none" : "are: " + names);
}

Result<DeploymentRecord> Registry::find(const std::string& name) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> found, parts(name));
  return standing_for(found);
}

Result<DeploymentRecord> Registry::current(const DeploymentRecord& record) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> found, parts(record.name));
  for (const DeploymentRecord& part : found) {
    if (is_same_part(part, record) && part.launch_id == record.launch_id) return part;
  }
  return fail(ErrorCode::kDeploymentNotFound, "", "launch {} of {} is gone", record.launch_id,
              describe_part(record));
}

}  // namespace dsl::launcher
