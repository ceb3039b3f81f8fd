// Deployments wherever they are: on this machine and, where there is Slurm, on its cluster.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "launcher/deployment/record.h"
#include "launcher/process/cancellation.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Between looks at what nothing announces: services, a gateway that starts.
inline constexpr std::chrono::milliseconds kStatePollInterval{100};
/// The same for records: Slurm's controller serves the whole cluster.
std::chrono::milliseconds record_poll_interval(ClusterKind cluster);

/// The parts of the deployment of this name, never none: a local one first. kDeploymentNotFound
/// when neither registry has it.
Result<std::vector<DeploymentRecord>> find_parts(const std::string& name);
/// The part that stands for it: a ready replica, else the first.
Result<DeploymentRecord> find_deployment(const std::string& name);

/// All parts of all deployments of this user. A machine without Slurm has local ones only; a
/// controller that does not answer is a warning in the log.
Result<std::vector<DeploymentRecord>> list_deployments();

/// Removes what launches have left that ended without anybody to clean up; Slurm is asked only
/// where something of it is left. Problems are logged: they are no reason to fail the command at
/// hand.
void sweep_ended_launches();

/// True for errors that a lost or hung rank makes its neighbours and clients see.
bool may_be_a_trace(const Error& error);

/// How long the reason behind such an error may take: a rank that died is known at once, one that
/// hangs near the failure deadline.
std::chrono::milliseconds explain_patience(int failure_deadline_ms);

/// A broken stream is often only the trace of a lost rank, whose name the supervisor writes into
/// the record a moment later: that error if it comes within explain_patience(), else `error`.
/// Errors that are no such trace are returned at once, and so is `error` when the launch goes or
/// the wait is cancelled.
Error explain_by_record(const DeploymentRecord& record, Error error, Cancellation& cancellation);

/// Ends one part in good order, by force when `deadline` comes, and forgets its record.
Status end_part(const DeploymentRecord& part, Deadline deadline);

/// Ends all parts of one deployment, the services first, each within `patience`, and forgets the
/// deployment.
Status end_deployment(std::vector<DeploymentRecord> parts, std::chrono::milliseconds patience);

}  // namespace dsl::launcher
