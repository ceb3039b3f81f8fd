#include "launcher/deployment/local_registry.h"

#include <algorithm>

#include "launcher/cluster/local_allocator.h"
#include "launcher/deployment/log_folder.h"
#include "launcher/deployment/private_files.h"
#include "launcher/process/error_line.h"
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
  DSL_ASSIGN(const std::filesystem::path state, state_folder());
  DSL_TRY(make_private_folder(state));
  DSL_TRY(make_private_folder(state / "registry"));
  std::string place = pid_space();  // "n1/pid:[4026531836]"
  std::replace(place.begin(), place.end(), '/', '.');
  return open(state / "registry" / place);
}

Result<std::unique_ptr<LocalRegistry>> LocalRegistry::open(const std::filesystem::path& folder) {
  DSL_TRY(make_private_folder(folder));
  return std::unique_ptr<LocalRegistry>(new LocalRegistry(folder));
}

std::filesystem::path LocalRegistry::path_of(const DeploymentRecord& record) const {
  std::string file = record.name;  // a name has no dots
  if (record.part == DeploymentPart::kServices) file += ".services";
  if (record.replica > 0) file += fmt::format(".{}", record.replica);
  return folder_ / (file + std::string(kSuffix));
}

Result<DeploymentRecord> LocalRegistry::read(const std::filesystem::path& path) const {
  DSL_ASSIGN(const std::string text, read_private_file(path, kMaxRecordBytes));
  Result<DeploymentRecord> record = parse_record(text);
  if (!record) return tl::unexpected<Error>(std::move(record).error().within(path.string()));
  return record;
}

Status LocalRegistry::create(const DeploymentRecord& record) {
  DSL_ASSIGN(const UniqueFd lock, lock_file(folder_ / ".lock"));
  const Result<DeploymentRecord> holder = read(path_of(record));
  if (holder && holder->state != DeploymentState::kFailed && is_alive(holder->owner)) {
    return fail(ErrorCode::kDeploymentExists,
                fmt::format("use another --name, or: dslaunch down {}", record.name),
                "the deployment \"{}\" is {} already (model {}, process {})", record.name,
                to_string(holder->state), holder->model, holder->owner.pid);
  }
  return write_private_file(path_of(record), to_json(record));
}

Status LocalRegistry::update(const DeploymentRecord& record) {
  DSL_ASSIGN(const UniqueFd lock, lock_file(folder_ / ".lock"));
  const Result<DeploymentRecord> current = read(path_of(record));
  if (!current || current->launch_id != record.launch_id) {
    return fail(ErrorCode::kDeploymentNotFound, "", "launch {} of the deployment \"{}\" is gone",
                record.launch_id, record.name);
  }
  return write_private_file(path_of(record), to_json(record));
}

Status LocalRegistry::restore(const DeploymentRecord& record) {
  std::error_code problem;
  if (std::filesystem::exists(path_of(record), problem)) return {};
  DSL_TRY(make_private_folder(folder_));
  DSL_ASSIGN(const UniqueFd lock, lock_file(folder_ / ".lock"));
  const Result<DeploymentRecord> current = read(path_of(record));
  if (current || current.error().code != ErrorCode::kNotFound) return {};
  log(LogLevel::kWarning, "the record of {} was gone, and is written again to {}",
      describe_part(record), folder_.string());
  return write_private_file(path_of(record), to_json(record));
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
  sort_records(records);
  return records;
}

Status LocalRegistry::remove(const DeploymentRecord& record) {
  DSL_ASSIGN(const UniqueFd lock, lock_file(folder_ / ".lock"));
  const Result<DeploymentRecord> current = read(path_of(record));
  if (!current || current->launch_id != record.launch_id) return {};
  std::error_code ignored;
  std::filesystem::remove(path_of(record), ignored);
  return {};
}

std::string LocalRegistry::end_of(const DeploymentRecord& part) {
  const Result<std::filesystem::path> logs = log_folder(part);
  const auto told = logs ? last_error_line(*logs / part_log_name(part)) : std::nullopt;
  return told ? told->message
              : "its program ended without a word: it was killed, or the machine restarted";
}

Result<AllocationName> LocalRegistry::name_of(const std::string& allocation_id) {
  return AllocationName{ClusterKind::kLocal, pid_space(), allocation_id};
}

Result<bool> LocalRegistry::is_over(const AllocationName& allocation) {
  if (allocation.cluster != ClusterKind::kLocal || allocation.place != pid_space()) return false;
  DSL_ASSIGN(const ProcessIdentity program, parse_local_allocation_id(allocation.id));
  if (is_alive(program)) return false;
  DSL_ASSIGN(const std::vector<DeploymentRecord> told, list());
  return std::none_of(told.begin(), told.end(), [&](const DeploymentRecord& record) {
    return record.allocation_id == allocation.id;
  });
}

}  // namespace dsl::launcher
