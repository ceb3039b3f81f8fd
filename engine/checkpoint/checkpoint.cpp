#include "engine/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>

#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/quantise.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/weight_index.h"

namespace dsl::checkpoint {
namespace {

constexpr std::size_t kMaxIndexBytes = 256u << 20;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct WeightFile {
  std::string name;
  MappedFile mapping;
  SafetensorsHeader header;
};

Result<WeightFile> open_weight_file(const std::filesystem::path& path) {
  DSL_ASSIGN(MappedFile mapping, MappedFile::open(path));
  const ConstBytes bytes = mapping.bytes();
  DSL_ASSIGN(const std::uint64_t length, read_header_length(bytes, bytes.size(), path.string()));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kHeaderPrefixBytes,
                              length);
  DSL_ASSIGN(
      SafetensorsHeader header,
      parse_safetensors_header(text, bytes.size() - kHeaderPrefixBytes - length, path.string()));
  return WeightFile{path.filename().string(), std::move(mapping), std::move(header)};
}

tl::unexpected<Error> mismatch(const TensorView& found, std::string_view expected) {
  return fail(ErrorCode::kTensorMismatch, "check that config.json belongs to these weights",
              "tensor {} in {}: expected {}, found {} [{}]", found.name, found.file, expected,
              name_of(found.dtype), fmt::join(found.shape, ", "));
}

/// Kernels read through typed pointers; the format does not promise alignment, its usual writers
/// keep it.
Status check_alignment(const TensorView& view) {
  if (reinterpret_cast<std::uintptr_t>(view.data) % size_of(view.dtype) == 0) return {};
  return fail(ErrorCode::kTensorMismatch,
              "save the checkpoint again with a current safetensors library",
              "tensor {} in {}: its data is not aligned to its {} elements", view.name, view.file,
              name_of(view.dtype));
}

}  // namespace

std::int64_t TensorView::num_elements() const {
  return size_bytes / static_cast<std::int64_t>(size_of(dtype));
}

struct Checkpoint::Impl {
  std::filesystem::path dir;
  std::vector<std::unique_ptr<WeightFile>> files;
  std::map<std::string_view, TensorView> tensors;  // keys live in the files' headers
  std::int64_t total_bytes = 0;

  // Scales stored as BF16, widened once on first use; 1/16384 of their weights' elements.
  std::mutex widened_mutex;
  std::unordered_map<std::string, std::vector<float>> widened_scales;

  void add(const WeightFile& file, const SafetensorsEntry& entry) {
    const std::uint64_t offset = file.header.data_offset + entry.begin;
    TensorView view{entry.name,
                    entry.dtype,
                    entry.shape,
                    file.mapping.bytes().data() + offset,
                    static_cast<std::int64_t>(entry.end - entry.begin),
                    file.name};
    total_bytes += view.size_bytes;
    tensors.emplace(entry.name, std::move(view));
  }

  const float* widen(const TensorView& scales) {
    const std::scoped_lock lock(widened_mutex);
    const auto [place, is_new] = widened_scales.try_emplace(std::string(scales.name));
    if (is_new) {
      const auto* values = reinterpret_cast<const BFloat16*>(scales.data);
      place->second.resize(static_cast<std::size_t>(scales.num_elements()));
      std::transform(values, values + scales.num_elements(), place->second.begin(),
                     [](BFloat16 value) { return to_float(value); });
    }
    return place->second.data();
  }

  Status open_single(const std::filesystem::path& path) {
    DSL_ASSIGN(WeightFile file, open_weight_file(path));
    files.push_back(std::make_unique<WeightFile>(std::move(file)));
    for (const SafetensorsEntry& entry : files.back()->header.entries) add(*files.back(), entry);
    return {};
  }

  Status open_indexed(const std::filesystem::path& index_path) {
    DSL_ASSIGN(const std::string text,
               read_text_file(index_path, kMaxIndexBytes, ErrorCode::kCheckpointCorrupt));
    DSL_ASSIGN(const WeightIndex index, parse_weight_index(text, index_path.string()));
    std::set<std::string> names;
    for (const auto& [tensor, file] : index) names.insert(file);
    for (const std::string& name : names) {
      auto file = open_weight_file(index_path.parent_path() / name);
      if (!file) {
        return tl::unexpected<Error>(std::move(file).error().within(
            fmt::format("weight file {} of {}", name, index_path.string())));
      }
      files.push_back(std::make_unique<WeightFile>(*std::move(file)));
      for (const SafetensorsEntry& entry : files.back()->header.entries) {
        const auto indexed = index.find(entry.name);
        if (indexed != index.end() && indexed->second == name) add(*files.back(), entry);
      }
    }
    for (const auto& [tensor, file] : index) {
      if (tensors.contains(tensor)) continue;
      return fail(ErrorCode::kCheckpointCorrupt,
                  "fetch the index and the weight files of one revision",
                  "{}: tensor {} is said to lie in {}, which does not hold it", index_path.string(),
                  tensor, file);
    }
    return {};
  }
};

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Result<Checkpoint> Checkpoint::open(const std::filesystem::path& model_dir) {
  auto impl = std::make_unique<Impl>();
  impl->dir = model_dir;
  std::error_code ignored;
  const auto single = model_dir / "model.safetensors";
  const auto index = model_dir / "model.safetensors.index.json";
  if (std::filesystem::exists(single, ignored)) {
    DSL_TRY(impl->open_single(single));
  } else if (std::filesystem::exists(index, ignored)) {
    DSL_TRY(impl->open_indexed(index));
  } else {
    return fail(
        ErrorCode::kNotFound,
        "give the directory of a Hugging Face checkpoint in safetensors format",
        "no weights in {}: neither model.safetensors nor model.safetensors.index.json is there",
        model_dir.string());
  }
  return Checkpoint(std::move(impl));
}

bool Checkpoint::has(std::string_view name) const { return impl_->tensors.contains(name); }

Result<TensorView> Checkpoint::tensor(std::string_view name) const {
  const auto found = impl_->tensors.find(name);
  if (found != impl_->tensors.end()) return found->second;
  return fail(ErrorCode::kTensorMissing,
              "check that config.json belongs to these weights and that all files are there",
              "tensor {} is in none of the {} weight files of {} ({} tensors)", name,
              impl_->files.size(), impl_->dir.string(), impl_->tensors.size());
}

std::vector<TensorView> Checkpoint::tensors() const {
  std::vector<TensorView> all;
  all.reserve(impl_->tensors.size());
  for (const auto& [name, view] : impl_->tensors) all.push_back(view);
  return all;
}

std::int64_t Checkpoint::num_files() const {
  return static_cast<std::int64_t>(impl_->files.size());
}
std::int64_t Checkpoint::total_bytes() const { return impl_->total_bytes; }

Result<WeightView> Checkpoint::weight(std::string_view name, std::int64_t out_features,
                                      std::int64_t in_features) const {
  DSL_ASSIGN(const TensorView found, tensor(name));
  const bool is_float = found.dtype == DType::kF32 || found.dtype == DType::kBF16 ||
                        found.dtype == DType::kF16 || found.dtype == DType::kF8E4M3;
  if (!is_float || found.shape != std::vector<std::int64_t>{out_features, in_features}) {
    return mismatch(found,
                    fmt::format("F32, BF16, F16 or F8_E4M3 [{}, {}]", out_features, in_features));
  }
  DSL_TRY(check_alignment(found));
  WeightView view{found.data, found.dtype, out_features, in_features, in_features, {}};
  if (found.dtype != DType::kF8E4M3) return view;

  DSL_ASSIGN(const TensorView scales, tensor(std::string(name) + "_scale_inv"));
  const std::int64_t scale_cols = ceil_div(in_features, kScaleBlock);
  const bool is_scale =
      scales.dtype == DType::kF32 || scales.dtype == DType::kF8E8M0 || scales.dtype == DType::kBF16;
  if (!is_scale ||
      scales.shape != std::vector<std::int64_t>{ceil_div(out_features, kScaleBlock), scale_cols}) {
    return mismatch(
        scales,
        fmt::format("F32, BF16 or F8_E8M0 [{}, {}], a scale for each block of {}x{}",
                    ceil_div(out_features, kScaleBlock), scale_cols, kScaleBlock, kScaleBlock));
  }
  DSL_TRY(check_alignment(scales));
  view.scales.data = scales.data;
  view.scales.dtype = scales.dtype;
  if (scales.dtype == DType::kBF16) {
    view.scales.data = impl_->widen(scales);
    view.scales.dtype = DType::kF32;
  }
  view.scales.row_stride = scale_cols;
  return view;
}

Result<VectorView> Checkpoint::vector(std::string_view name, std::int64_t size) const {
  DSL_ASSIGN(const TensorView found, tensor(name));
  const bool is_float =
      found.dtype == DType::kF32 || found.dtype == DType::kBF16 || found.dtype == DType::kF16;
  if (!is_float || found.shape != std::vector<std::int64_t>{size}) {
    return mismatch(found, fmt::format("F32, BF16 or F16 [{}]", size));
  }
  DSL_TRY(check_alignment(found));
  return VectorView{found.data, found.dtype, size};
}

}  // namespace dsl::checkpoint
