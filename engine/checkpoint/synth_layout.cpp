#include "engine/checkpoint/synth_layout.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/checkpoint/quantise.h"
#include "engine/checkpoint/safetensors.h"

namespace dsl::checkpoint {
namespace {

using nlohmann::ordered_json;

DType stored_dtype(const PlannedTensor& tensor, SynthFormat format) {
  if (tensor.role == TensorRole::kRouterBias) return DType::kF32;
  switch (format) {
    case SynthFormat::kF32:
      return DType::kF32;
    case SynthFormat::kBF16:
      return DType::kBF16;
    case SynthFormat::kF16:
      return DType::kF16;
    case SynthFormat::kFp8:
      break;
  }
  return tensor.role == TensorRole::kLinear ? DType::kF8E4M3 : DType::kBF16;
}

StoredTensor make_stored(std::string name, DType dtype, std::vector<std::int64_t> shape) {
  StoredTensor stored{std::move(name), dtype, std::move(shape), 0, 0};
  stored.size_bytes = static_cast<std::int64_t>(size_of(dtype));
  for (const std::int64_t dimension : stored.shape) stored.size_bytes *= dimension;
  return stored;
}

/// Assigns offsets and writes the header. Wide elements go first, so that every tensor is aligned.
void finish_file(StoredFile& file) {
  std::vector<std::size_t> order(file.tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return size_of(file.tensors[a].dtype) > size_of(file.tensors[b].dtype);
  });
  ordered_json header{{"__metadata__", {{"format", "pt"}}}};
  std::int64_t offset = 0;
  for (const std::size_t i : order) {
    StoredTensor& tensor = file.tensors[i];
    tensor.file_offset = offset;
    header[tensor.name] = {{"dtype", name_of(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.size_bytes}}};
    offset += tensor.size_bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  file.header.resize(kHeaderPrefixBytes);
  std::memcpy(file.header.data(), &length, sizeof length);
  file.header += text;
  const auto data_offset = static_cast<std::int64_t>(file.header.size());
  for (StoredTensor& tensor : file.tensors) tensor.file_offset += data_offset;
  file.size_bytes = data_offset + offset;
}

std::string make_index(const SynthLayout& layout) {
  ordered_json weight_map = ordered_json::object();
  for (const StoredFile& file : layout.files) {
    for (const StoredTensor& tensor : file.tensors) weight_map[tensor.name] = file.name;
  }
  return ordered_json{{"metadata", {{"total_size", layout.total_bytes}}},
                      {"weight_map", std::move(weight_map)}}
             .dump(2) +
         "\n";
}

}  // namespace

SynthLayout lay_out(const ModelConfig& config, const SynthOptions& options) {
  SynthLayout layout;
  std::int64_t file_bytes = 0;
  for (PlannedTensor& planned : plan_tensors(config)) {
    std::vector<StoredTensor> stored;
    stored.push_back(
        make_stored(planned.name, stored_dtype(planned, options.format), planned.shape));
    if (stored[0].dtype == DType::kF8E4M3) {
      stored.push_back(make_stored(planned.name + "_scale_inv", options.scale_dtype,
                                   {(planned.shape[0] + kScaleBlock - 1) / kScaleBlock,
                                    (planned.shape[1] + kScaleBlock - 1) / kScaleBlock}));
    }
    std::int64_t bytes = 0;
    for (const StoredTensor& tensor : stored) bytes += tensor.size_bytes;
    if (layout.files.empty() || (file_bytes > 0 && file_bytes + bytes > options.max_file_bytes)) {
      layout.files.emplace_back();
      file_bytes = 0;
    }
    StoredFile& file = layout.files.back();
    SynthTensor tensor{std::move(planned), layout.files.size() - 1, file.tensors.size(), {}};
    if (stored.size() == 2) tensor.scales = file.tensors.size() + 1;
    std::move(stored.begin(), stored.end(), std::back_inserter(file.tensors));
    layout.tensors.push_back(std::move(tensor));
    file_bytes += bytes;
    layout.total_bytes += bytes;
  }
  for (std::size_t i = 0; i < layout.files.size(); ++i) {
    layout.files[i].name =
        layout.files.size() == 1
            ? "model.safetensors"
            : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, layout.files.size());
    finish_file(layout.files[i]);
  }
  if (layout.files.size() > 1) layout.index_json = make_index(layout);
  return layout;
}

}  // namespace dsl::checkpoint
