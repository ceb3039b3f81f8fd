#include "engine/serving/engine_port/gpu_alarm.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace dsl::serving {

std::vector<std::string> GpuAlarm::look_at(const std::vector<GpuUsage>& gpus) {
  std::vector<std::string> lines;
  std::map<int, std::vector<GpuProblemKind>> found;
  for (const GpuUsage& gpu : gpus) {
    const std::vector<GpuProblemKind>& known = known_[gpu.index];
    for (const GpuProblem& problem : problems_of(gpu.health, gpu.temperature_c)) {
      found[gpu.index].push_back(problem.kind);
      if (std::find(known.begin(), known.end(), problem.kind) != known.end()) continue;
      lines.push_back(
          fmt::format("GPU {} ({}): {}; {}", gpu.index, gpu.name, problem.text, problem.remedy));
    }
  }
  known_ = std::move(found);
  return lines;
}

}  // namespace dsl::serving
