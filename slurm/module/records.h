// Slurm's records as the plain structs of slurm/job.h and slurm/node.h.
#pragma once

#include <slurm/slurm.h>

#include "slurm/job.h"
#include "slurm/node.h"

namespace dsl::slurm {

Node to_node(const node_info_t& record);
Partition to_partition(const partition_info_t& record);
Job to_job(const slurm_job_info_t& record);

/// The pointer as text; null gives "".
std::string to_text(const char* text);

}  // namespace dsl::slurm
