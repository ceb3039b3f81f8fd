// What a checkpoint holds, compared with what its configuration asks for.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"

namespace dsl::checkpoint {

/// Counts of one part of the model as stored. Scales count as bytes and tensors, not as parameters.
struct ComponentSummary {
  std::string name;  // "attention", "routed_experts", ...
  std::int64_t num_tensors = 0;
  std::int64_t num_parameters = 0;
  std::int64_t size_bytes = 0;
};

struct CheckpointSummary {
  std::int64_t num_files = 0;
  std::int64_t num_tensors = 0;
  std::int64_t size_bytes = 0;
  std::int64_t num_parameters = 0;  // as configured, embedding and head included, MTP layers not
  /// Parameters that one token uses: num_experts_per_tok of the routed experts, everything else
  /// whole.
  std::int64_t num_active_parameters = 0;
  std::int64_t num_mtp_parameters = 0;
  std::map<std::string, std::int64_t> bytes_by_dtype;
  std::vector<ComponentSummary> components;  // those with tensors, in model order
  std::vector<std::string> missing;          // asked for by the configuration, not there
  std::vector<std::string> unexpected;       // there, not asked for
  std::vector<std::string> mismatched;       // "name: expected [..], found [..]"
};

/// Reads headers only. MTP tensors that are not there are not missing: the engine runs without
/// them.
CheckpointSummary inspect(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace dsl::checkpoint
