// Processes named so that a reused pid is never taken for the old process.
#pragma once

#include <cstdint>

#include "launcher/deployment/record.h"
#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::launcher {

/// The identity of a live process of this host; kNotFound when there is none.
Result<ProcessIdentity> identify_process(std::int64_t pid);
/// This process.
ProcessIdentity this_process();
/// This machine's host name.
std::string host_name();
/// Host and pid namespace, "n1/pid:[4026531836]": containers of one host may share its name, but
/// not its pids.
std::string pid_space();

/// True when this very process still runs (a zombie does not). A process of another host is taken
/// for alive, because nothing here can tell.
bool is_alive(const ProcessIdentity& process);

/// A pidfd of this very process; kNotFound when it is gone.
Result<UniqueFd> open_process(const ProcessIdentity& process);

}  // namespace dsl::launcher
