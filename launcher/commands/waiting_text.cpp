#include "launcher/commands/waiting_text.h"

#include <algorithm>
#include <ctime>
#include <string_view>

#include "launcher/cluster/slurm_job_spec.h"

namespace dsl::launcher {
namespace {

/// Beginnings of Slurm's words for: what the job asks for is not to be had now.
constexpr std::string_view kNoRoom[] = {"Resources", "Priority", "ReqNodeNotAvail",
                                        "QOSMax",    "QOSGrp",   "Assoc"};

/// The flags that leave the services' job out.
std::string flags_without_services(const DeploymentSpec& spec) {
  std::string flags = "--gateways 0";
  if (spec.preprocess_replicas > 0) flags += " --preprocess 0";
  if (spec.postprocess_replicas > 0) flags += " --postprocess 0";
  return flags;
}

}  // namespace

std::string waiting_text(const LaunchProgress& progress) {
  const std::string& job = progress.record.allocation_id;
  std::string text = is_replica(progress.record)
                         ? fmt::format("job {} waits for nodes", job)
                         : fmt::format("the services' job {} waits for a node", job);
  if (progress.engine_is_up) text = "the engine is up, " + text;
  if (!progress.allocation.reason.empty()) text += ": " + progress.allocation.reason;
  if (progress.services) {
    text += fmt::format(", while its own services run on {} (job {})",
                        fmt::join(progress.services->nodes, ","), progress.services->allocation_id);
  }
  if (progress.allocation.estimated_start_unix_s) {
    const std::time_t start = *progress.allocation.estimated_start_unix_s;
    std::tm local{};
    char when[32] = {};
    ::localtime_r(&start, &local);
    if (std::strftime(when, sizeof(when), "%F %T", &local) > 0) {
      text += fmt::format(", expected to start {}", when);
    }
  }
  return text;
}

std::optional<std::string> room_hint(const DeploymentSpec& spec, const LaunchProgress& progress) {
  const bool has_no_room = std::any_of(
      std::begin(kNoRoom), std::end(kNoRoom),
      [&](std::string_view word) { return progress.allocation.reason.starts_with(word); });
  if (!is_services(progress.record) || !has_no_room) return std::nullopt;
  return fmt::format(
      "{}its gateways and text services are a job of their own, which needs {} free CPUs on one "
      "node{}: free them, or stop this and bring \"{}\" up without: {}",
      progress.engine_is_up ? "the engine is up; " : "", kServiceCpus,
      spec.slurm.partition ? fmt::format(" of partition {}", *spec.slurm.partition) : "", spec.name,
      flags_without_services(spec));
}

}  // namespace dsl::launcher
