#include "launcher/deployment/slurm_registry.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "launcher/cluster/slurm_allocator.h"
#include "launcher/cluster/slurm_job_end.h"
#include "slurm/hostlist.h"
#include "slurm/load_client.h"

namespace dsl::launcher {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;  // for one answer of the controller

/// A part of a deployment and the job it is.
struct ListedJob {
  slurm::JobId id;
  DeploymentRecord record;

  bool failed() const { return record.state == DeploymentState::kFailed; }
};

/// Which of two jobs of one part stands for it: a live one before a failed one, then the earlier of
/// two live ones (it has the name) and the later of two failed ones.
bool is_better(const ListedJob& a, const ListedJob& b) {
  if (a.failed() != b.failed()) return b.failed();
  return a.failed() ? a.id > b.id : a.id < b.id;
}

/// Slurm knows best where a job is. Of one that has lost a node it lists the others: what its
/// record says counts then, which is one hostlist.
std::vector<std::string> nodes_of(const slurm::Job& job, const DeploymentRecord& written) {
  const bool has_lost_some = was_ended_by_its_node(job.state) && !written.nodes.empty();
  auto nodes = slurm::expand_hostlist(has_lost_some ? written.nodes.front() : job.nodes);
  return nodes ? *std::move(nodes) : std::vector<std::string>{};
}

}  // namespace

Result<std::unique_ptr<Registry>> open_slurm_registry() {
  DSL_ASSIGN(auto client, slurm::load_client(slurm::LoadOptions{}, Deadline::after(kPatience)));
  DSL_ASSIGN(SecretStore secrets, SecretStore::open());
  return std::make_unique<SlurmRegistry>(std::move(client), std::move(secrets));
}

Result<std::string> to_comment(const DeploymentRecord& record) {
  DeploymentRecord shorter = record;
  if (!record.nodes.empty()) shorter.nodes = {slurm::format_hostlist(record.nodes)};
  shorter.allocation_id.clear();
  std::string comment = to_json(shorter, slurm::kMaxCommentBytes);
  if (comment.size() > slurm::kMaxCommentBytes) {
    shorter.nodes.clear();
    comment = to_json(shorter, slurm::kMaxCommentBytes);
  }
  // Of a long error, the beginning of the message says most.
  for (std::string* text : {&shorter.error.remedy, &shorter.error.message}) {
    if (comment.size() <= slurm::kMaxCommentBytes) break;
    const std::size_t excess = comment.size() - slurm::kMaxCommentBytes;
    text->resize(text->size() - std::min(text->size(), excess));
    comment = to_json(shorter, slurm::kMaxCommentBytes);
  }
  if (comment.size() <= slurm::kMaxCommentBytes) return comment;
  return fail(ErrorCode::kInvalidArgument, "give the model a shorter path, e.g. by a symbolic link",
              "the record of \"{}\" has {} bytes, a job's comment takes {}", record.name,
              comment.size(), slurm::kMaxCommentBytes);
}

std::optional<DeploymentRecord> record_of(const slurm::Job& job) {
  if (!job.comment.starts_with('{')) return std::nullopt;
  auto record = parse_record(job.comment);
  if (!record) return std::nullopt;
  record->allocation_id = std::to_string(job.id.value);
  record->nodes = nodes_of(job, *record);
  if (slurm::is_over(job.state)) {
    std::optional<Error> failure = failure_of(job);
    if (!failure) return std::nullopt;
    if (record->state == DeploymentState::kFailed && !was_ended_by_slurm(job.state)) return *record;
    record->state = DeploymentState::kFailed;
    record->error = *std::move(failure);
    record->endpoint.clear();
  } else if (job.state == slurm::JobState::kPending) {
    record->state = DeploymentState::kPending;
    record->endpoint.clear();
  } else if (record->state == DeploymentState::kPending) {
    record->state = DeploymentState::kStarting;  // the supervisor has not written yet
  }
  return *record;
}

Status SlurmRegistry::create(const DeploymentRecord& record) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> all, list());
  for (const DeploymentRecord& holder : all) {
    if (!is_same_part(holder, record) || holder.state == DeploymentState::kFailed) continue;
    if (holder.launch_id == record.launch_id) return {};
    if (!record.allocation_id.empty() && holder.allocation_id == record.allocation_id) return {};
    return fail(ErrorCode::kDeploymentExists,
                fmt::format("use another --name, or: dslaunch down {}", record.name),
                "the deployment \"{}\" is {} already (model {}, job {})", record.name,
                to_string(holder.state), holder.model, holder.allocation_id);
  }
  return {};
}

Status SlurmRegistry::update(const DeploymentRecord& record) {
  DSL_ASSIGN(const slurm::JobId id, parse_job_id(record.allocation_id));
  DSL_ASSIGN(const std::string comment, to_comment(record));
  const Status updated = client_->update_comment(id, comment, Deadline::after(kPatience));
  if (updated || updated.error().code != ErrorCode::kNotFound) return updated;
  return fail(ErrorCode::kDeploymentNotFound, "", "launch {} of the deployment \"{}\" is gone",
              record.launch_id, record.name);
}

Result<std::vector<DeploymentRecord>> SlurmRegistry::list() {
  slurm::JobFilter filter;
  filter.user_id = getuid();
  filter.include_ended = true;
  DSL_ASSIGN(const std::vector<slurm::Job> jobs, client_->jobs(filter, Deadline::after(kPatience)));
  std::vector<ListedJob> best;  // one a part
  for (const slurm::Job& job : jobs) {
    auto record = record_of(job);
    if (!record || is_forgotten(*record)) continue;
    if (record->error.code == ErrorCode::kSlurmJobEnded && was_ended_by_its_node(job.state))
      name_bad_nodes(*record);
    ListedJob listed{job.id, std::move(*record)};
    const auto place = std::find_if(best.begin(), best.end(), [&](const ListedJob& other) {
      return is_same_part(other.record, listed.record);
    });
    if (place == best.end()) {
      best.push_back(std::move(listed));
    } else if (is_better(listed, *place)) {
      *place = std::move(listed);
    }
  }
  std::vector<DeploymentRecord> records;
  for (ListedJob& listed : best) records.push_back(std::move(listed.record));
  sort_records(records);
  return records;
}

void SlurmRegistry::name_bad_nodes(DeploymentRecord& record) {
  const auto nodes = client_->nodes(Deadline::after(kPatience));
  if (nodes && !record.nodes.empty()) record.error.remedy = remedy_without(record.nodes, *nodes);
}

bool SlurmRegistry::is_forgotten(const DeploymentRecord& record) const {
  if (record.state != DeploymentState::kFailed) return false;
  const auto secret = secrets_.load(record.launch_id);
  return !secret && secret.error().code == ErrorCode::kNotFound;
}

Status SlurmRegistry::remove(const DeploymentRecord& record) {
  // From inside the job this is the supervisor at its end. Slurm knows better whether that end was
  // asked for or came by a time limit.
  const char* own_job = std::getenv("SLURM_JOB_ID");
  if (own_job != nullptr && record.allocation_id == own_job) return {};
  // The parts of a launch share its secret: one that lives needs it.
  DSL_ASSIGN(const std::vector<DeploymentRecord> all, list());
  const bool is_shared = std::any_of(all.begin(), all.end(), [&](const DeploymentRecord& other) {
    return other.launch_id == record.launch_id && !is_same_part(other, record) &&
           other.state != DeploymentState::kFailed;
  });
  if (is_shared) return {};
  return secrets_.remove(record.launch_id);
}

std::string SlurmRegistry::end_of(const DeploymentRecord& part) {
  slurm::JobFilter filter;
  filter.user_id = getuid();
  filter.include_ended = true;
  const auto jobs = client_->jobs(filter, Deadline::after(kPatience));
  if (!jobs) return jobs.error().message;
  const slurm::Job* last = nullptr;
  for (const slurm::Job& job : *jobs) {
    const auto record = parse_record(job.comment);
    if (!record || !is_same_part(*record, part) || record->launch_id != part.launch_id) continue;
    if (slurm::is_over(job.state) && (last == nullptr || last->id < job.id)) last = &job;
  }
  return last != nullptr ? fmt::format("job {} ended: {}", last->id.value, describe_end(*last))
                         : "Slurm has forgotten its job";
}

Result<AllocationName> SlurmRegistry::name_of(const std::string& allocation_id) {
  if (cluster_name_.empty()) {
    DSL_ASSIGN(const slurm::ClusterInfo cluster, client_->cluster(Deadline::after(kPatience)));
    cluster_name_ = cluster.name;
  }
  return AllocationName{ClusterKind::kSlurm, cluster_name_, allocation_id};
}

Result<bool> SlurmRegistry::is_over(const AllocationName& allocation) {
  DSL_ASSIGN(const AllocationName here, name_of(allocation.id));
  if (allocation != here) return false;
  DSL_ASSIGN(const slurm::JobId id, parse_job_id(allocation.id));
  const Result<slurm::Job> job = client_->job(id, Deadline::after(kPatience));
  if (!job && job.error().code == ErrorCode::kNotFound) return true;
  if (!job) return tl::unexpected<Error>(job.error());
  // The secret of a job that ended badly is what keeps its reason in list().
  return slurm::is_over(job->state) && !record_of(*job);
}

}  // namespace dsl::launcher
