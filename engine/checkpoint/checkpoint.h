// A checkpoint in Hugging Face layout, mapped into memory and read in place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor/views.h"
#include "transport/base/error.h"

namespace dsl::checkpoint {

/// A tensor inside a mapped file. Non-owning: the Checkpoint must outlive it.
struct TensorView {
  std::string_view name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  const std::byte* data = nullptr;
  std::int64_t size_bytes = 0;
  std::string_view file;  // for messages

  std::int64_t num_elements() const;
};

/// Owns the file mappings. Immutable after open; thread-safe.
class Checkpoint {
 public:
  /// Opens model.safetensors or all shards of model.safetensors.index.json; validates every header
  /// completely (sizes, offsets, overlaps, dtypes, shapes) before anything is read. Maps, reads no
  /// weights. kNotFound: no weights there; kCheckpointCorrupt: a malformed file or index, with the
  /// file and the tensor.
  static Result<Checkpoint> open(const std::filesystem::path& model_dir);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  bool has(std::string_view name) const;
  /// kTensorMissing names the tensor and the files that were searched.
  Result<TensorView> tensor(std::string_view name) const;
  /// All tensors, sorted by name.
  std::vector<TensorView> tensors() const;
  std::int64_t num_files() const;
  /// Bytes of all tensors, without headers.
  std::int64_t total_bytes() const;

  /// A linear layer's weight `name` of shape [out_features, in_features]; with e4m3 the 128x128
  /// block scales `name`_scale_inv are attached and checked. A different shape or dtype is
  /// kTensorMismatch and says expected and found.
  Result<WeightView> weight(std::string_view name, std::int64_t out_features,
                            std::int64_t in_features) const;
  /// A vector parameter of `size` elements.
  Result<VectorView> vector(std::string_view name, std::int64_t size) const;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Called with the bytes read so far and the bytes to read.
using PrefetchProgress = std::function<void(std::int64_t bytes_done, std::int64_t bytes_total)>;

/// Reads (faults in) exactly the pages that these views of a Checkpoint use, in file order, so that
/// the first step does not wait for the disk and pages of other shards never become resident.
/// `progress` may be empty; it is called about every 64 MiB and at the end. kIo when a page cannot
/// be read, e.g. because the file has shrunk.
Status prefetch(std::span<const WeightView> weights, std::span<const VectorView> vectors,
                const PrefetchProgress& progress);

}  // namespace dsl::checkpoint
