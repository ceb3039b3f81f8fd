// Which tensor of a synthetic checkpoint lies where in which file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/synth.h"
#include "engine/checkpoint/tensor_plan.h"

namespace dsl::checkpoint {

/// A tensor as stored: the values of a planned tensor or the scales of a quantised one.
struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::int64_t size_bytes = 0;
  std::int64_t file_offset = 0;  // absolute
};

/// A planned tensor with the places of its values and, when quantised, of its scales (indices into
/// StoredFile).
struct SynthTensor {
  PlannedTensor planned;
  std::size_t file = 0;
  std::size_t values = 0;
  std::optional<std::size_t> scales;
};

struct StoredFile {
  std::string name;
  std::string header;  // length prefix and JSON, padded to 8 bytes
  std::vector<StoredTensor> tensors;
  std::int64_t size_bytes = 0;
};

struct SynthLayout {
  std::vector<SynthTensor> tensors;
  std::vector<StoredFile> files;
  std::string index_json;  // empty with one file
  std::int64_t total_bytes = 0;
};

SynthLayout lay_out(const ModelConfig& config, const SynthOptions& options);

}  // namespace dsl::checkpoint
