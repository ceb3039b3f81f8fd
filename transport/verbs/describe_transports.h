// What a user is told about the transports of this machine.
#pragma once

#include <string>

namespace dsl::verbs {

/// Lines "UCX ...", "RDMA ..." for `dslaunch version --verbose`; what cannot be found out is said
/// there too.
std::string describe_transports();

}  // namespace dsl::verbs
