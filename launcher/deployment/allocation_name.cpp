#include "launcher/deployment/allocation_name.h"

#include <sstream>

#include "launcher/deployment/record.h"

namespace dsl::launcher {

std::string to_line(const AllocationName& name) {
  return fmt::format("{} {} {}", to_string(name.cluster), name.place, name.id);
}

Result<AllocationName> parse_allocation_name(std::string_view line) {
  std::istringstream words{std::string(line)};
  std::string cluster;
  std::string more;
  AllocationName name;
  words >> cluster >> name.place >> name.id;
  for (const ClusterKind kind : {ClusterKind::kLocal, ClusterKind::kSlurm}) {
    if (to_string(kind) != cluster || name.id.empty() || words >> more) continue;
    name.cluster = kind;
    return name;
  }
  return fail(ErrorCode::kProtocol, "", "\"{}\" names no allocation", line);
}

}  // namespace dsl::launcher
