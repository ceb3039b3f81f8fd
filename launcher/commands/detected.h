// What this machine offers: each optional component, found or missing and why.
#pragma once

#include <string>
#include <vector>

namespace dsl::launcher {

struct Detected {
  std::string name;  // "ucx", "rdma", "gpudirect", "cuda", "nccl", "slurm", "engine"
  bool found = false;
  std::string detail;  // versions and devices, or why it is missing
};

/// Asks each component. Takes a second at most where a component does not answer.
std::vector<Detected> detect_all();

}  // namespace dsl::launcher
