#include "tests/bench/gpu/sparse_checkpoint.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unordered_map>

#include "engine/checkpoint/synth_layout.h"
#include "engine/checkpoint/synthetic_values.h"
#include "engine/checkpoint/tensor_plan.h"
#include "engine/model/parameters.h"
#include "tests/bench/gpu/device_fill.h"

namespace dsl::bench {
namespace {

constexpr std::int64_t kAlignment = 256;

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}
std::int64_t bytes_of(const VectorView& vector) {
  return vector.size * static_cast<std::int64_t>(size_of(vector.dtype));
}

std::int64_t bytes_of(const model::Parameters& parameters) {
  std::int64_t bytes = 0;
  for (const WeightView* weight : parameters.weights) bytes += aligned(weight->bytes());
  for (const VectorView* vector : parameters.vectors) bytes += aligned(bytes_of(*vector));
  return bytes;
}

Result<checkpoint::Checkpoint> open_file_of_holes(const checkpoint::ModelConfig& config,
                                                  const std::filesystem::path& directory) {
  const checkpoint::SynthLayout layout = checkpoint::lay_out(
      config, {.config_path = {}, .out_dir = {}, .max_file_bytes = std::int64_t{1} << 50});
  const checkpoint::StoredFile& file = layout.files.front();
  const std::filesystem::path path = directory / file.name;
  std::ofstream(path, std::ios::binary) << file.header;
  if (::truncate(path.c_str(), file.size_bytes) != 0) {
    return fail(ErrorCode::kIo, "set TMPDIR to a file system with sparse files",
                "cannot make a file of {} bytes: {}", file.size_bytes, path.string());
  }
  return checkpoint::Checkpoint::open(directory);
}

/// What the tensor at each address is filled with.
Result<std::unordered_map<const void*, FillValues>> synthetic_values(
    const checkpoint::ModelConfig& config, const checkpoint::Checkpoint& sparse) {
  std::unordered_map<const void*, FillValues> result;
  for (const checkpoint::PlannedTensor& planned : checkpoint::plan_tensors(config)) {
    DSL_ASSIGN(const checkpoint::TensorView tensor, sparse.tensor(planned.name));
    const checkpoint::SyntheticRange range = checkpoint::synthetic_range(planned);
    result[tensor.data] = {range.offset, range.amplitude,
                           checkpoint::synthetic_key(planned.values_name(), kWeightSeed)};
  }
  return result;
}

}  // namespace

Result<checkpoint::Checkpoint> open_sparse_checkpoint(const checkpoint::ModelConfig& config) {
  std::string directory = (std::filesystem::temp_directory_path() / "dsl_gpu_XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) {
    return fail(ErrorCode::kIo, "set TMPDIR to a directory that can be written", "cannot make {}",
                directory);
  }
  auto opened = open_file_of_holes(config, directory);
  // What is mapped stays: nothing is left behind by a process that is ended.
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  return opened;
}

Result<Buffer> synthetic_parameters(const model::Parameters& parameters,
                                    const checkpoint::ModelConfig& config,
                                    const checkpoint::Checkpoint& sparse, Memory& memory) {
  DSL_ASSIGN(const auto values, synthetic_values(config, sparse));
  DSL_ASSIGN(Buffer buffer,
             Buffer::allocate(memory, static_cast<std::size_t>(bytes_of(parameters)), "weights"));
  auto* next = buffer.as<std::byte>();
  for (WeightView* weight : parameters.weights) {
    DSL_TRY(fill_random(next, weight->out_features * weight->in_features, weight->dtype,
                        values.at(weight->data)));
    weight->data = next;
    weight->row_stride = weight->in_features;
    next += aligned(weight->bytes());
  }
  for (VectorView* vector : parameters.vectors) {
    if (vector->size == 0) continue;  // the bias of a router without one
    DSL_TRY(fill_random(next, vector->size, vector->dtype, values.at(vector->data)));
    vector->data = next;
    next += aligned(bytes_of(*vector));
  }
  return buffer;
}

Result<Buffer> copy_parameters(const model::Parameters& from, Memory& device,
                               const model::Parameters& to) {
  DSL_ASSIGN(Buffer buffer,
             Buffer::allocate(host_memory(), static_cast<std::size_t>(bytes_of(from)), "weights"));
  auto* next = buffer.as<std::byte>();
  for (std::size_t i = 0; i < from.weights.size(); ++i) {
    const WeightView& weight = *from.weights[i];
    DSL_TRY(device.read(next, weight.data, static_cast<std::size_t>(weight.bytes())));
    *to.weights[i] = weight;
    to.weights[i]->data = next;
    next += aligned(weight.bytes());
  }
  for (std::size_t i = 0; i < from.vectors.size(); ++i) {
    const VectorView& vector = *from.vectors[i];
    if (vector.size == 0) continue;
    DSL_TRY(device.read(next, vector.data, static_cast<std::size_t>(bytes_of(vector))));
    *to.vectors[i] = vector;
    to.vectors[i]->data = next;
    next += aligned(bytes_of(vector));
  }
  return buffer;
}

}  // namespace dsl::bench
