// model.safetensors.index.json: which file holds which tensor. Untrusted input.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::checkpoint {

/// Tensor name to file name; file names are plain names inside the model's directory.
using WeightIndex = std::map<std::string, std::string, std::less<>>;

/// Parses the index. kCheckpointCorrupt for malformed JSON, an empty or missing weight_map, or a
/// file name that is a path or leaves the directory; `origin` names the index in errors.
Result<WeightIndex> parse_weight_index(std::string_view json, std::string_view origin);

}  // namespace dsl::checkpoint
