// Everything that can be asked of Slurm for a job: the fields behind sbatch's own flags.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "slurm/time_limit.h"
#include "transport/base/error.h"

namespace dsl::slurm {

/// `--nodes=MIN[-MAX]`
struct NodeCount {
  std::uint32_t min = 1;
  std::uint32_t max = 1;
};

/// `--signal=[B:]SIGNAL[@seconds]`: a warning before the time limit.
struct WarnSignal {
  int number = 0;
  std::uint16_t seconds_before = 60;
  bool batch_only = false;  // B: only the batch script gets it, not the steps
};

/// A job to submit. Unset fields are left to the cluster's defaults. A value.
struct JobSpec {
  std::string name;                                            // -J
  std::optional<NodeCount> nodes;                              // -N
  std::optional<std::uint32_t> ntasks;                         // -n
  std::optional<std::uint16_t> ntasks_per_node;                // --ntasks-per-node
  std::optional<std::uint16_t> cpus_per_task;                  // -c
  std::optional<std::uint64_t> memory_mb;                      // --mem, per node; 0 means all of it
  std::optional<std::string> partition;                        // -p
  std::optional<std::string> account;                          // -A
  std::optional<std::string> qos;                              // -q
  std::optional<TimeLimit> time_limit;                         // -t
  std::optional<std::string> nodelist;                         // -w, hostlist
  std::optional<std::string> exclude;                          // -x, hostlist
  std::optional<std::string> gpus_per_node;                    // --gpus-per-node, "[type:]count"
  std::optional<std::string> gres;                             // --gres, e.g. "gpu:a100:2"
  std::optional<std::string> constraint;                       // -C
  std::optional<std::string> reservation;                      // --reservation
  std::optional<std::string> dependency;                       // -d, e.g. "afterok:123"
  std::optional<std::string> comment;                          // --comment
  std::optional<WarnSignal> signal;                            // --signal
  std::optional<std::chrono::system_clock::time_point> begin;  // -b
  std::optional<std::uint32_t> switches;  // --switches: at most so many leaf switches
  std::optional<bool> requeue;            // --requeue / --no-requeue
  bool exclusive = false;                 // --exclusive
  bool no_kill = false;                   // -k: the job outlives the loss of a node
  std::optional<std::string> output;      // -o, Slurm's patterns (%j) allowed
  std::optional<std::string> error;       // -e
  std::string work_dir;                   // -D, absolute; mandatory
  std::vector<std::string>
      environment;     // "NAME=value" of the batch step; mandatory, secrets go here
  std::string script;  // text, begins with "#!"; mandatory, readable by administrators
};

/// "2" or "2-4": `--nodes`.
Result<NodeCount> parse_node_count(std::string_view text);
/// "K", "M", "G" or "T" may follow the number, megabytes are meant without: `--mem`. Rounds up to a
/// megabyte.
Result<std::uint64_t> parse_memory_mb(std::string_view text);
/// "[B:]NUMBER_OR_NAME[@seconds]", e.g. "B:USR1@120".
Result<WarnSignal> parse_warn_signal(std::string_view text);
/// "now", "now+5", "now+2hours", "2026-02-03T10:00[:00]", "2026-02-03", "10:00", all in local time:
/// `--begin`.
Result<std::chrono::system_clock::time_point> parse_begin_time(
    std::string_view text, std::chrono::system_clock::time_point now);
/// The option of sbatch that WarnSignal stands for, e.g. "B:10@120".
std::string format_warn_signal(const WarnSignal& signal);

/// Refuses what cannot be a job before Slurm sees it: missing mandatory fields, malformed
/// hostlists, a NUL or line break in a field. kInvalidArgument.
Status validate(const JobSpec& spec);

}  // namespace dsl::slurm
