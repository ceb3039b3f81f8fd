#include "slurm/module/records.h"

#include <dlfcn.h>
#include <sys/wait.h>

#include <ctime>

#include "slurm/gres.h"

namespace dsl::slurm {
namespace {

NodeState to_node_state(std::uint32_t state) {
  switch (state & NODE_STATE_BASE) {
    case NODE_STATE_DOWN:
      return NodeState::kDown;
    case NODE_STATE_IDLE:
      return NodeState::kIdle;
    case NODE_STATE_ALLOCATED:
      return NodeState::kAllocated;
    case NODE_STATE_ERROR:
      return NodeState::kError;
    case NODE_STATE_MIXED:
      return NodeState::kMixed;
    case NODE_STATE_FUTURE:
      return NodeState::kFuture;
    default:
      return NodeState::kUnknown;
  }
}

JobState to_job_state(std::uint32_t state) {
  switch (state & JOB_STATE_BASE) {
    case JOB_PENDING:
      return JobState::kPending;
    case JOB_RUNNING:
      return state & JOB_CONFIGURING ? JobState::kConfiguring : JobState::kRunning;
    case JOB_SUSPENDED:
      return JobState::kSuspended;
    case JOB_COMPLETE:
      return JobState::kCompleted;
    case JOB_CANCELLED:
      return JobState::kCancelled;
    case JOB_TIMEOUT:
      return JobState::kTimeout;
    case JOB_NODE_FAIL:
      return JobState::kNodeFail;
    case JOB_PREEMPTED:
      return JobState::kPreempted;
    case JOB_BOOT_FAIL:
      return JobState::kBootFail;
    case JOB_DEADLINE:
      return JobState::kDeadline;
    case JOB_OOM:
      return JobState::kOutOfMemory;
    default:
      return JobState::kFailed;
  }
}

std::optional<WallTime> to_time(std::time_t seconds) {
  if (seconds <= 0 || static_cast<std::uint64_t>(seconds) >= NO_VAL) return std::nullopt;
  return WallTime::clock::from_time_t(seconds);
}

TimeLimit to_time_limit(std::uint32_t minutes) {
  if (minutes == INFINITE || minutes == NO_VAL) return TimeLimit{};
  return TimeLimit{minutes};
}

/// squeue's word for a reason. The library has the table but no public header declares the
/// function, whose name changed in 24.05.
std::string reason_word(std::uint32_t reason) {
  using ReasonString = const char* (*)(enum job_state_reason);
  static const auto reason_string = [] {
    void* symbol = dlsym(RTLD_DEFAULT, "slurm_job_reason_string");
    if (symbol == nullptr) symbol = dlsym(RTLD_DEFAULT, "slurm_job_state_reason_string");
    return reinterpret_cast<ReasonString>(symbol);
  }();
  if (reason == WAIT_NO_REASON) return "None";
  if (reason_string == nullptr) return fmt::format("Reason{}", reason);
  return to_text(reason_string(static_cast<enum job_state_reason>(reason)));
}

std::uint32_t job_id_of(const slurm_job_info_t& record) {
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 11, 0)
  return record.step_id.job_id;
#else
  return record.job_id;
#endif
}

std::uint32_t allocated_cpus_of(const node_info_t& record) {
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
  return record.alloc_cpus;
#else
  std::uint16_t cpus = 0;
  slurm_get_select_nodeinfo(record.select_nodeinfo, SELECT_NODEDATA_SUBCNT, NODE_STATE_ALLOCATED,
                            &cpus);
  return cpus;
#endif
}

}  // namespace

std::string to_text(const char* text) { return text == nullptr ? std::string() : text; }

Node to_node(const node_info_t& record) {
  Node node;
  node.name = to_text(record.name);
  node.address = to_text(record.node_addr);
  node.state = to_node_state(record.node_state);
  node.drained = record.node_state & (NODE_STATE_DRAIN | NODE_STATE_FAIL | NODE_STATE_MAINT);
  node.responding = !(record.node_state & NODE_STATE_NO_RESPOND);
  node.completing = record.node_state & NODE_STATE_COMPLETING;
  node.powered_down = record.node_state &
                      (NODE_STATE_POWERED_DOWN | NODE_STATE_POWERING_DOWN | NODE_STATE_POWERING_UP);
  node.reason = to_text(record.reason);
  node.cpus = record.cpus;
  node.allocated_cpus = allocated_cpus_of(record);
  node.memory_mb = record.real_memory;
  if (record.free_mem != NO_VAL64) node.free_memory_mb = record.free_mem;
  if (record.cpu_load != NO_VAL) node.cpu_load = record.cpu_load / 100.0;
  node.gres = to_text(record.gres);
  node.gpus = count_gpus(node.gres);
  node.used_gpus = count_gpus(to_text(record.gres_used));
  node.features = to_text(record.features_act != nullptr ? record.features_act : record.features);
  return node;
}

Partition to_partition(const partition_info_t& record) {
  Partition partition;
  partition.name = to_text(record.name);
  partition.nodes = to_text(record.nodes);
  partition.total_nodes = record.total_nodes;
  partition.total_cpus = record.total_cpus;
  partition.is_default = record.flags & PART_FLAG_DEFAULT;
  partition.is_up = record.state_up == PARTITION_UP;
  partition.max_time = to_time_limit(record.max_time);
  if (record.default_time != NO_VAL) partition.default_time = to_time_limit(record.default_time);
  return partition;
}

Job to_job(const slurm_job_info_t& record) {
  Job job;
  job.id = JobId{job_id_of(record)};
  job.name = to_text(record.name);
  job.user_id = record.user_id;
  job.state = to_job_state(record.job_state);
  job.completing = record.job_state & JOB_COMPLETING;
  job.reason = record.state_desc != nullptr ? record.state_desc : reason_word(record.state_reason);
  job.partition = to_text(record.partition);
  job.account = to_text(record.account);
  job.qos = to_text(record.qos);
  job.comment = to_text(record.comment);
  job.nodes = to_text(record.nodes);
  job.planned_nodes = to_text(record.sched_nodes);
  job.num_nodes = record.num_nodes;
  job.batch_host = to_text(record.batch_host);
  job.work_dir = to_text(record.work_dir);
  job.std_out = to_text(record.std_out);
  job.std_err = record.std_err != nullptr ? record.std_err : job.std_out;
  job.submit_time = to_time(record.submit_time);
  job.start_time = to_time(record.start_time);
  job.end_time = to_time(record.end_time);
  job.time_limit = to_time_limit(record.time_limit);
  job.restart_count = record.restart_cnt;
  const int status = static_cast<int>(record.exit_code);
  if (WIFSIGNALED(status)) {
    job.exit_signal = WTERMSIG(status);
  } else if (WIFEXITED(status)) {
    job.exit_status = WEXITSTATUS(status);
  }
  return job;
}

}  // namespace dsl::slurm
