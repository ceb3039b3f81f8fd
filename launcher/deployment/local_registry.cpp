#include "launcher/deployment/local_registry.h"

#include <algorithm>

#include "launcher/deployment/private_files.h"
#include "launcher/process/process_identity.h"
#include "transport/base/log.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxRecordBytes = 1 << 20;
constexpr std::string_view kSuffix = ".json";

/// A record that stands for a live deployment or for the reason of a dead one.
bool is_worth_keeping(const DeploymentRecord& record) {
  return record.state == DeploymentState::kFailed || is_alive(record.owner);
}

}  // namespace

Result<std::unique_ptr<LocalRegistry>> LocalRegistry::open() {
  DSL_ASSIGN(const std::filesystem::path folder, runtime_folder());
  return open(folder);
}

Result<std::unique_ptr<LocalRegistry>> LocalRegistry::open(const std::filesystem::path& folder) {
  DSL_TRY(make_private_folder(folder));
  return std::unique_ptr<LocalRegistry>(new LocalRegistry(folder));
}

std::filesystem::path LocalRegistry::path_of(const std::string& name) const {
  return folder_ / (name + std::string(kSuffix));
}

Result<DeploymentRecord> LocalRegistry::read(const std::filesystem::path& path) const {
  DSL_ASSIGN(const std::string text, read_private_file(path, kMaxRecordBytes));
  Result<DeploymentRecord> record = parse_record(text);
  if (!record) return tl::unexpected<Error>(std::move(record).error().within(path.string()));
  return record;
}

Status LocalRegistry::create(const DeploymentRecord& record) {
  DSL_ASSIGN(const UniqueFd lock, lock_file(folder_ / ".lock"));
  const Result<DeploymentRecord> holder = read(path_of(record.name));
  if (holder && holder->state != DeploymentState::kFailed && is_alive(holder->owner)) {
    return fail(ErrorCode::kDeploymentExists,
                fmt::format("use another --name, or: dslaunch down {}", record.name),
                "the deployment \"{}\" is {} already (model {}, process {})", record.name,
                to_string(holder->state), holder->model, holder->owner.pid);
  }
  return write_private_file(path_of(record.name), to_json(record));
}

Status LocalRegistry::update(const DeploymentRecord& record) {
  DSL_ASSIGN(const UniqueFd lock, lock_file(folder_ / ".lock"));
  const Result<DeploymentRecord> current = read(path_of(record.name));
  if (!current || current->launch_id != record.launch_id) {
    return fail(ErrorCode::kDeploymentNotFound, "", "launch {} of the deployment \"{}\" is gone",
                record.launch_id, record.name);
  }
  return write_private_file(path_of(record.name), to_json(record));
}

Result<DeploymentRecord> LocalRegistry::find(const std::string& name) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> all, list());
  std::string names;
  for (const DeploymentRecord& record : all) {
    if (record.name == name) return record;
    names += names.empty() ? record.name : ", " + record.name;
  }
  return fail(ErrorCode::kDeploymentNotFound, "see: dslaunch status",
              "there is no deployment \"{}\" on this machine (there {})", name,
              names.empty() ? "is none" : "are: " + names);
}

Result<std::vector<DeploymentRecord>> LocalRegistry::list() {
  DSL_ASSIGN(const UniqueFd lock, lock_file(folder_ / ".lock"));
  std::vector<DeploymentRecord> records;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, problem)) {
    if (entry.path().extension() != kSuffix) continue;
    Result<DeploymentRecord> record = read(entry.path());
    if (!record) {
      log(LogLevel::kWarning, "skipped a record of the registry: {}", record.error().to_string());
      continue;
    }
    if (!is_worth_keeping(*record)) {
      std::error_code ignored;
      std::filesystem::remove(entry.path(), ignored);
      continue;
    }
    records.push_back(*std::move(record));
  }
  if (problem) {
    return fail(ErrorCode::kIo, "check its permissions", "cannot list {}: {}", folder_.string(),
                problem.message());
  }
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return records;
}

Status LocalRegistry::remove(const DeploymentRecord& record) {
  DSL_ASSIGN(const UniqueFd lock, lock_file(folder_ / ".lock"));
  const Result<DeploymentRecord> current = read(path_of(record.name));
  if (!current || current->launch_id != record.launch_id) return {};
  std::error_code ignored;
  std::filesystem::remove(path_of(record.name), ignored);
  return {};
}

}  // namespace dsl::launcher
