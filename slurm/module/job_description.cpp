#include "slurm/module/job_description.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace dsl::slurm {
namespace {

// The separator after "gres" changed from ':' to '/' in 23.11.
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 11, 0)
constexpr std::string_view kGresPrefix = "gres/";
#else
constexpr std::string_view kGresPrefix = "gres:";
#endif

}  // namespace

std::string tres_per_node(const JobSpec& spec) {
  std::string text;
  const auto add = [&](std::string_view entry) {
    if (!text.empty()) text += ',';
    text += kGresPrefix;
    text += entry;
  };
  if (spec.gres) {
    std::string_view rest = *spec.gres;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      if (comma > 0) add(rest.substr(0, comma));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  if (spec.gpus_per_node) add("gpu:" + *spec.gpus_per_node);
  return text;
}

char* JobDescription::keep(std::string text) {
  texts_.emplace_back(text.begin(), text.end()).push_back('\0');
  return texts_.back().data();
}

JobDescription::JobDescription(const JobSpec& spec) {
  // Never zero it: most unset fields are NO_VAL.
  slurm_init_job_desc_msg(&message_);
  const auto set_text = [this](char*& field, const std::optional<std::string>& value) {
    if (value) field = keep(*value);
  };
  message_.user_id = getuid();
  message_.group_id = getgid();
  message_.name = keep(spec.name);
  message_.script = keep(spec.script);
  message_.work_dir = keep(spec.work_dir);
  for (const std::string& entry : spec.environment) environment_.push_back(keep(entry));
  message_.env_size = static_cast<std::uint32_t>(environment_.size());
  environment_.push_back(nullptr);
  message_.environment = environment_.data();
  arguments_ = {keep(spec.name)};
  message_.argc = 1;
  message_.argv = arguments_.data();

  const NodeCount nodes = spec.nodes.value_or(NodeCount{});
  if (spec.nodes) {
    message_.min_nodes = nodes.min;
    message_.max_nodes = nodes.max;
  }
  if (spec.ntasks_per_node) message_.ntasks_per_node = *spec.ntasks_per_node;
  const std::uint32_t tasks = spec.ntasks.value_or(nodes.min * spec.ntasks_per_node.value_or(1));
  message_.num_tasks = tasks;
  message_.min_cpus = tasks * spec.cpus_per_task.value_or(1);
  if (spec.cpus_per_task) message_.cpus_per_task = *spec.cpus_per_task;
  if (spec.memory_mb) message_.pn_min_memory = *spec.memory_mb;
  set_text(message_.partition, spec.partition);
  set_text(message_.account, spec.account);
  set_text(message_.qos, spec.qos);
  if (spec.time_limit) message_.time_limit = spec.time_limit->minutes.value_or(INFINITE);
  set_text(message_.req_nodes, spec.nodelist);
  set_text(message_.exc_nodes, spec.exclude);
  if (std::string tres = tres_per_node(spec); !tres.empty()) {
    message_.tres_per_node = keep(std::move(tres));
  }
  set_text(message_.features, spec.constraint);
  set_text(message_.reservation, spec.reservation);
  set_text(message_.dependency, spec.dependency);
  set_text(message_.comment, spec.comment);
  if (spec.signal) {
    message_.warn_signal = static_cast<std::uint16_t>(spec.signal->number);
    message_.warn_time = spec.signal->seconds_before;
    if (spec.signal->batch_only) message_.warn_flags = KILL_JOB_BATCH;
  }
  if (spec.begin) message_.begin_time = std::chrono::system_clock::to_time_t(*spec.begin);
  if (spec.switches) message_.req_switch = *spec.switches;
  if (spec.requeue) message_.requeue = *spec.requeue ? 1 : 0;
  if (spec.exclusive) message_.shared = JOB_SHARED_NONE;
  if (spec.no_kill) message_.kill_on_node_fail = 0;
  set_text(message_.std_out, spec.output);
  set_text(message_.std_err, spec.error);
  message_.open_mode = OPEN_MODE_APPEND;
}

}  // namespace dsl::slurm
