#include "slurm/module/slurm_error.h"

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

namespace dsl::slurm {
namespace {

struct KnownError {
  int number;
  ErrorCode code;
  std::string_view remedy;
};

constexpr auto kKnownErrors = std::to_array<KnownError>({
    {ESLURM_ACCESS_DENIED, ErrorCode::kSlurmRefused,
     "act as the owner of the job, or ask an administrator"},
    {ESLURM_USER_ID_MISSING, ErrorCode::kSlurmRefused,
     "the user must exist on the controller's host"},
    {ESLURM_INVALID_ACCOUNT, ErrorCode::kSlurmRefused,
     "give a valid account with -A (sacctmgr show associations)"},
    {ESLURM_INVALID_QOS, ErrorCode::kSlurmRefused, "give a valid QOS with -q (sacctmgr show qos)"},
    {ESLURM_INVALID_NODE_NAME, ErrorCode::kSlurmRefused,
     "correct -w and -x; sinfo -N lists the nodes"},
    {ESLURM_INVALID_NODE_COUNT, ErrorCode::kSlurmRefused,
     "ask for fewer nodes (-N) or another partition (-p)"},
    {ESLURM_TOO_MANY_REQUESTED_CPUS, ErrorCode::kSlurmRefused,
     "ask for fewer CPUs (-c, -n) or more nodes (-N)"},
    {ESLURM_REQUESTED_NODES_NOT_IN_PARTITION, ErrorCode::kSlurmRefused,
     "choose nodes (-w) of the partition (-p)"},
    {ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE, ErrorCode::kSlurmRefused,
     "no node has what was asked for: lower -N, -c, --mem, --gpus-per-node or -C"},
    {ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE, ErrorCode::kSlurmRefused,
     "the partition's limits forbid it: lower -N or -t, or choose another partition (-p)"},
    {ESLURM_INVALID_TIME_LIMIT, ErrorCode::kSlurmRefused,
     "lower the time limit (-t) below the partition's"},
    {ESLURM_INVALID_GRES, ErrorCode::kSlurmRefused,
     "correct --gres; sinfo -o %G shows what nodes have"},
    {ESLURM_INVALID_GRES_TYPE, ErrorCode::kSlurmRefused,
     "correct the type in --gres or --gpus-per-node; sinfo -o %G shows what nodes have"},
    {ESLURM_INVALID_TRES, ErrorCode::kSlurmRefused, "correct --gres and --gpus-per-node"},
    {ESLURM_INVALID_FEATURE, ErrorCode::kSlurmRefused,
     "correct -C; sinfo -o %f shows the nodes' features"},
    {ESLURM_RESERVATION_INVALID, ErrorCode::kSlurmRefused,
     "give a reservation that exists (scontrol show reservation)"},
    {ESLURM_RESERVATION_ACCESS, ErrorCode::kSlurmRefused, "use a reservation that admits you"},
    {ESLURM_DEPENDENCY, ErrorCode::kSlurmRefused, "correct --dependency, e.g. afterok:123"},
    {ESLURM_DEFAULT_PARTITION_NOT_SET, ErrorCode::kSlurmRefused, "name a partition with -p"},
    {ESLURM_PARTITION_NOT_AVAIL, ErrorCode::kSlurmRefused, "choose another partition (-p)"},
    {ESLURM_PARTITION_DOWN, ErrorCode::kSlurmRefused, "choose another partition (-p)"},
    {ESLURM_ACCOUNTING_POLICY, ErrorCode::kSlurmRefused,
     "a limit of the account or QOS forbids it: ask for less"},
    {ESLURM_SUBMISSIONS_DISABLED, ErrorCode::kSlurmRefused,
     "submissions are switched off: ask an administrator"},
    {ESLURM_INVALID_JOB_ID, ErrorCode::kNotFound, "squeue lists the jobs"},
});

/// Numbers that mean that the controller could not be talked to. Named in slurm_errno.h; the ranges
/// hold in all releases: 1000-1099 protocol, 1800-1899 communication, 5000-5999 sockets of the
/// library.
bool is_communication(int number) {
  return (number >= 1000 && number < 1100) || (number >= 1800 && number < 1900) ||
         (number >= 5000 && number < 6000) || number == ETIMEDOUT || number == ECONNREFUSED ||
         number == EHOSTUNREACH || number == ENETUNREACH || number == ECONNRESET ||
         number == ESLURM_IN_STANDBY_MODE;
}

constexpr int kAuthenticationErrors[] = {
    1007,  // SLURM_PROTOCOL_AUTHENTICATION_ERROR
    6000,  // ESLURM_AUTH_CRED_INVALID and the like of the plugins
    6001, 6002, 6003, 6004, 6005, 6006, 6007, 6008};

}  // namespace

int last_error_number() {
#if SLURM_VERSION_NUMBER < SLURM_VERSION_NUM(24, 11, 0)
  return slurm_get_errno();
#else
  return errno;
#endif
}

tl::unexpected<Error> slurm_failure(int number, std::string_view operation) {
  const std::string reason = slurm_strerror(number);
  if (std::find(std::begin(kAuthenticationErrors), std::end(kAuthenticationErrors), number) !=
      std::end(kAuthenticationErrors)) {
    return fail(ErrorCode::kSlurmUnavailable,
                "see that munged runs on this host with the cluster's key (munge -n | unmunge)",
                "Slurm: cannot {}: authentication failed: {} ({})", operation, reason, number);
  }
  if (is_communication(number)) {
    return fail(ErrorCode::kSlurmController,
                "see that slurmctld runs and can be reached (scontrol ping), then try again",
                "Slurm: cannot {}: the controller does not answer: {} ({})", operation, reason,
                number);
  }
  for (const KnownError& known : kKnownErrors) {
    if (known.number == number) {
      return fail(known.code, known.remedy, "Slurm: cannot {}: {} ({})", operation, reason, number);
    }
  }
  return fail(ErrorCode::kSlurmRefused, "the number is explained in slurm_errno.h of this Slurm",
              "Slurm: cannot {}: {} ({})", operation, reason, number);
}

tl::unexpected<Error> submit_failure(int number, std::string_view operation, const JobSpec& spec) {
  const auto named = [&](std::string_view flag, const std::optional<std::string>& value) {
    return slurm_failure(number, value ? fmt::format("{} with {} {}", operation, flag, *value)
                                       : std::string(operation));
  };
  switch (number) {
    case ESLURM_INVALID_PARTITION_NAME:
      return named("-p", spec.partition);
    case ESLURM_INVALID_ACCOUNT:
      return named("-A", spec.account);
    case ESLURM_INVALID_QOS:
      return named("-q", spec.qos);
    case ESLURM_INVALID_NODE_NAME:
      return named("-w", spec.nodelist);
    case ESLURM_INVALID_FEATURE:
      return named("-C", spec.constraint);
    case ESLURM_RESERVATION_INVALID:
    case ESLURM_RESERVATION_ACCESS:
      return named("--reservation", spec.reservation);
    case ESLURM_DEPENDENCY:
      return named("-d", spec.dependency);
    case ESLURM_INVALID_GRES:
    case ESLURM_INVALID_GRES_TYPE:
      return spec.gres ? named("--gres", spec.gres) : named("--gpus-per-node", spec.gpus_per_node);
    default:
      return slurm_failure(number, operation);
  }
}

}  // namespace dsl::slurm
