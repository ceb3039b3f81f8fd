// Deployments wherever they are: on this machine and, where there is Slurm, on its cluster.
#pragma once

#include <string>
#include <vector>

#include "launcher/deployment/record.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// The deployment of this name: a local one first. kDeploymentNotFound when neither registry has
/// it.
Result<DeploymentRecord> find_deployment(const std::string& name);

/// All deployments of this user. A machine without Slurm has local ones only; a controller that
/// does not answer is a warning in the log.
Result<std::vector<DeploymentRecord>> list_deployments();

/// True for errors that a lost or hung rank makes its neighbours and clients see.
bool may_be_a_trace(const Error& error);

/// A broken stream is often only the trace of a lost rank, whose name the supervisor writes into
/// the record a moment later: that error if it comes soon, else `error`. Errors that are no such
/// trace are returned at once.
Error explain_by_record(const DeploymentRecord& record, Error error);

/// Ends a deployment in good order, by force when `deadline` comes, and forgets it.
Status end_deployment(const DeploymentRecord& record, Deadline deadline);

}  // namespace dsl::launcher
