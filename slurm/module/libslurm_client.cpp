#include "slurm/module/libslurm_client.h"

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

#include <csignal>
#include <memory>

#include "slurm/module/job_description.h"
#include "slurm/module/records.h"
#include "slurm/module/slurm_error.h"

// slurm.h names it as the way to free slurm_job_will_run2's answer, but does not declare it.
extern "C" void slurm_free_will_run_response_msg(will_run_response_msg_t* message);

namespace dsl::slurm {
namespace {

/// Frees a message with the library's own function for it.
template <auto kFree>
struct FreeMessage {
  template <typename T>
  void operator()(T* message) const {
    kFree(message);
  }
};

#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 5, 0)
using ConfPtr = std::unique_ptr<slurm_conf_t, FreeMessage<slurm_free_conf>>;
#else
using ConfPtr = std::unique_ptr<slurm_conf_t, FreeMessage<slurm_free_ctl_conf>>;
#endif
using NodesPtr = std::unique_ptr<node_info_msg_t, FreeMessage<slurm_free_node_info_msg>>;
using PartitionsPtr =
    std::unique_ptr<partition_info_msg_t, FreeMessage<slurm_free_partition_info_msg>>;
using JobsPtr = std::unique_ptr<job_info_msg_t, FreeMessage<slurm_free_job_info_msg>>;
using SubmitPtr =
    std::unique_ptr<submit_response_msg_t, FreeMessage<slurm_free_submit_response_response_msg>>;
using WillRunPtr =
    std::unique_ptr<will_run_response_msg_t, FreeMessage<slurm_free_will_run_response_msg>>;

/// How the library's calls name a job.
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 5, 0)
slurm_step_id_t native_id(JobId id) {
  slurm_step_id_t native{};
  native.job_id = id.value;
  native.step_het_comp = native.step_id = NO_VAL;
  return native;
}
#else
std::uint32_t native_id(JobId id) { return id.value; }
#endif

}  // namespace

Result<ClusterInfo> LibslurmClient::cluster(Deadline) {
  slurm_conf_t* raw = nullptr;
  if (slurm_load_ctl_conf(0, &raw) != SLURM_SUCCESS) {
    return slurm_failure(last_error_number(), "read the cluster's configuration");
  }
  const ConfPtr conf(raw);
  ClusterInfo info{to_text(conf->cluster_name), to_text(conf->version), {}};
  for (std::uint32_t i = 0; i < conf->control_cnt; ++i) {
    info.controllers.push_back(to_text(conf->control_machine[i]));
  }
  return info;
}

Result<std::vector<Node>> LibslurmClient::nodes(Deadline) {
  node_info_msg_t* raw = nullptr;
  if (slurm_load_node(0, &raw, SHOW_ALL | SHOW_DETAIL | SHOW_MIXED) != SLURM_SUCCESS) {
    return slurm_failure(last_error_number(), "list nodes");
  }
  const NodesPtr message(raw);
  std::vector<Node> nodes;
  nodes.reserve(message->record_count);
  for (std::uint32_t i = 0; i < message->record_count; ++i) {
    // A null name marks a record that is hidden or deleted.
    if (message->node_array[i].name != nullptr) nodes.push_back(to_node(message->node_array[i]));
  }
  return nodes;
}

Result<std::vector<Partition>> LibslurmClient::partitions(Deadline) {
  partition_info_msg_t* raw = nullptr;
  if (slurm_load_partitions(0, &raw, SHOW_ALL) != SLURM_SUCCESS) {
    return slurm_failure(last_error_number(), "list partitions");
  }
  const PartitionsPtr message(raw);
  std::vector<Partition> partitions;
  partitions.reserve(message->record_count);
  for (std::uint32_t i = 0; i < message->record_count; ++i) {
    partitions.push_back(to_partition(message->partition_array[i]));
  }
  return partitions;
}

Result<std::vector<Job>> LibslurmClient::jobs(const JobFilter& filter, Deadline) {
  job_info_msg_t* raw = nullptr;
  const int rc = filter.user_id ? slurm_load_job_user(&raw, *filter.user_id, SHOW_ALL)
                                : slurm_load_jobs(0, &raw, SHOW_ALL);
  if (rc != SLURM_SUCCESS) return slurm_failure(last_error_number(), "list jobs");
  const JobsPtr message(raw);
  std::vector<Job> jobs;
  for (std::uint32_t i = 0; i < message->record_count; ++i) {
    Job job = to_job(message->job_array[i]);
    if (filter.name && job.name != *filter.name) continue;
    if (!filter.include_ended && is_over(job.state)) continue;
    jobs.push_back(std::move(job));
  }
  return jobs;
}

Result<Job> LibslurmClient::job(JobId id, Deadline) {
  job_info_msg_t* raw = nullptr;
  const auto operation = [id] { return fmt::format("look up job {}", id.value); };
  if (slurm_load_job(&raw, native_id(id), SHOW_ALL) != SLURM_SUCCESS) {
    return slurm_failure(last_error_number(), operation());
  }
  const JobsPtr message(raw);
  if (message->record_count == 0) return slurm_failure(ESLURM_INVALID_JOB_ID, operation());
  return to_job(message->job_array[0]);
}

Result<JobId> LibslurmClient::submit(const JobSpec& spec, Deadline deadline) {
  DSL_TRY(validate(spec));
  const std::string operation = fmt::format("submit job \"{}\"", spec.name);
  JobDescription description(spec);
  submit_response_msg_t* raw = nullptr;
  if (slurm_submit_batch_job(description.message(), &raw) != SLURM_SUCCESS) {
    return refused(last_error_number(), operation, spec, deadline);
  }
  const SubmitPtr response(raw);
  // error_code of an accepted job only says why it cannot start at once.
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 11, 0)
  return JobId{response->step_id.job_id};
#else
  return JobId{response->job_id};
#endif
}

Result<StartEstimate> LibslurmClient::estimate_start(const JobSpec& spec, Deadline deadline) {
  DSL_TRY(validate(spec));
  JobDescription description(spec);
  will_run_response_msg_t* raw = nullptr;
  if (slurm_job_will_run2(description.message(), &raw) != SLURM_SUCCESS) {
    return refused(last_error_number(), fmt::format("plan job \"{}\"", spec.name), spec, deadline);
  }
  const WillRunPtr response(raw);
  return StartEstimate{WallTime::clock::from_time_t(response->start_time),
                       to_text(response->node_list), response->proc_cnt};
}

Status LibslurmClient::cancel(JobId id, Deadline) {
  if (slurm_kill_job(native_id(id), SIGKILL, 0) == SLURM_SUCCESS) return {};
  const int number = last_error_number();
  if (number == ESLURM_ALREADY_DONE || number == ESLURM_TRANSITION_STATE_NO_UPDATE) return {};
  return slurm_failure(number, fmt::format("cancel job {}", id.value));
}

Status LibslurmClient::signal_batch(JobId id, int signal, Deadline) {
  if (slurm_kill_job(native_id(id), static_cast<std::uint16_t>(signal), KILL_JOB_BATCH) ==
      SLURM_SUCCESS) {
    return {};
  }
  return slurm_failure(last_error_number(), fmt::format("signal job {}", id.value));
}

Status LibslurmClient::update_comment(JobId id, const std::string& comment, Deadline) {
  if (comment.size() > kMaxCommentBytes) {
    return fail(ErrorCode::kInvalidArgument, "shorten it",
                "comment of job {}: {} bytes, Slurm takes {}", id.value, comment.size(),
                kMaxCommentBytes);
  }
  job_desc_msg_t update;
  slurm_init_job_desc_msg(&update);
  std::string text = comment;
  update.comment = text.data();
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 11, 0)
  update.step_id.job_id = id.value;
#else
  update.job_id = id.value;
#endif
  if (slurm_update_job(&update) == SLURM_SUCCESS) return {};
  return slurm_failure(last_error_number(), fmt::format("update the comment of job {}", id.value));
}

tl::unexpected<Error> LibslurmClient::refused(int number, std::string_view operation,
                                              const JobSpec& spec, Deadline deadline) {
  auto failure = submit_failure(number, operation, spec);
  if (number != ESLURM_INVALID_PARTITION_NAME) return failure;
  const auto known = partitions(deadline);
  if (!known) return failure;
  std::string names;
  for (const Partition& partition : *known) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", partition.name);
  }
  failure.value().remedy = fmt::format("choose one of these partitions with -p: {}", names);
  return failure;
}

}  // namespace dsl::slurm
