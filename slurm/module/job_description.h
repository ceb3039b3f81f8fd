// Owner of the message that describes a job to Slurm.
#pragma once

#include <slurm/slurm.h>

#include <string>
#include <vector>

#include "slurm/job_spec.h"

namespace dsl::slurm {

/// Slurm's description of `spec`, which must have passed validate(). Owns every byte the message
/// points to, so it does not move.
class JobDescription {
 public:
  explicit JobDescription(const JobSpec& spec);
  JobDescription(const JobDescription&) = delete;
  JobDescription& operator=(const JobDescription&) = delete;

  job_desc_msg_t* message() { return &message_; }

 private:
  char* keep(std::string text);

  job_desc_msg_t message_;
  std::vector<std::vector<char>> texts_;
  std::vector<char*> environment_;
  std::vector<char*> arguments_;
};

/// --gres and --gpus-per-node in the notation of the message's tres_per_node.
std::string tres_per_node(const JobSpec& spec);

}  // namespace dsl::slurm
