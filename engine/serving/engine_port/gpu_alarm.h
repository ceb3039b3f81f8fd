// Says once what is wrong with a node's GPUs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/serving/engine_port/gpu_usage.h"

namespace dsl::serving {

/// Thread-compatible.
class GpuAlarm {
 public:
  /// "GPU 0 (NVIDIA H100): 3 uncorrected ECC errors …; drain the node …": what is new since the
  /// last look. A problem that went away and comes again is new.
  std::vector<std::string> look_at(const std::vector<GpuUsage>& gpus);

 private:
  std::map<int, std::vector<GpuProblemKind>> known_;  // by GPU
};

}  // namespace dsl::serving
