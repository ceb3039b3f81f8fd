#include "engine/checkpoint/synth.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/quantise.h"
#include "engine/checkpoint/synth_layout.h"
#include "engine/checkpoint/synthetic_values.h"
#include "transport/base/unique_fd.h"

namespace dsl::checkpoint {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kChunkElements =
    1 << 20;  // of one write; float and stored bytes fit a core's share of cache
constexpr std::int64_t kReportBytes = 64 << 20;
constexpr std::string_view kPartialSuffix = ".partial";

/// Rows [first_row, first_row + num_rows) of a tensor; a vector is one row.
struct Chunk {
  std::size_t tensor = 0;
  std::int64_t first_row = 0;
  std::int64_t num_rows = 0;
};

std::int64_t num_columns(const PlannedTensor& tensor) { return tensor.shape.back(); }
std::int64_t num_rows(const PlannedTensor& tensor) {
  return tensor.shape.size() == 1 ? 1 : tensor.shape[0];
}

std::vector<Chunk> cut_chunks(const SynthLayout& layout) {
  std::vector<Chunk> chunks;
  for (std::size_t i = 0; i < layout.tensors.size(); ++i) {
    const PlannedTensor& planned = layout.tensors[i].planned;
    const std::int64_t rows = num_rows(planned);
    const std::int64_t wanted = std::max<std::int64_t>(1, kChunkElements / num_columns(planned));
    const std::int64_t step = layout.tensors[i].scales ? kScaleBlock : wanted;
    for (std::int64_t row = 0; row < rows; row += step) {
      chunks.push_back({i, row, std::min(step, rows - row)});
    }
  }
  return chunks;
}

Status write_all(int fd, ConstBytes bytes, std::int64_t offset, std::string_view path) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return fail(ErrorCode::kIo, "free space on the disk or choose another --out",
                  "cannot write {}: {}", path, std::strerror(errno));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += count;
  }
  return {};
}

Result<UniqueFd> create_file(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.valid()) return fd;
  return fail(ErrorCode::kIo, "choose a directory that can be written", "cannot create {}: {}",
              path.string(), std::strerror(errno));
}

/// Writes files under temporary names; they get their own names when all is written, else they are
/// removed.
class Writer {
 public:
  Writer(const SynthOptions& options, SynthLayout layout, bool is_power_of_two,
         const SynthProgress& progress)
      : options_(options),
        layout_(std::move(layout)),
        is_power_of_two_(is_power_of_two),
        progress_(progress) {}

  ~Writer() {
    for (const std::string& path : partial_paths_) ::unlink(path.c_str());
  }

  Status run() {
    DSL_TRY(create_files());
    chunks_ = cut_chunks(layout_);
    int num_threads = options_.num_threads;
    if (num_threads <= 0) {
      cpu_set_t allowed;
      num_threads = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    }
    {
      std::vector<std::jthread> threads;
      for (int i = 1; i < num_threads; ++i) threads.emplace_back([this] { work(); });
      work();
    }
    if (failure_) return tl::unexpected<Error>(*std::move(failure_));
    if (progress_) progress_(layout_.total_bytes, layout_.total_bytes);
    return publish();
  }

 private:
  std::filesystem::path path_of(const StoredFile& file) const {
    return options_.out_dir / file.name;
  }

  Status create_files() {
    std::error_code error;
    std::filesystem::create_directories(options_.out_dir, error);
    std::filesystem::space_info space{};
    if (!error) space = std::filesystem::space(options_.out_dir, error);
    if (error) {
      return fail(ErrorCode::kIo, "choose a directory that can be written", "cannot make {}: {}",
                  options_.out_dir.string(), error.message());
    }
    if (space.available < static_cast<std::uintmax_t>(layout_.total_bytes)) {
      return fail(ErrorCode::kIo, "free space on the disk or choose another --out",
                  "{} has {} bytes free, the checkpoint needs {}", options_.out_dir.string(),
                  space.available, layout_.total_bytes);
    }
    for (const StoredFile& file : layout_.files) {
      partial_paths_.push_back(path_of(file).string() + std::string(kPartialSuffix));
      DSL_ASSIGN(UniqueFd fd, create_file(partial_paths_.back()));
      DSL_TRY(write_all(fd.get(), std::as_bytes(std::span(file.header)), 0, partial_paths_.back()));
      fds_.push_back(std::move(fd));
    }
    return {};
  }

  Status publish() {
    fds_.clear();
    for (std::size_t i = 0; i < layout_.files.size(); ++i) {
      std::error_code error;
      std::filesystem::rename(partial_paths_[i], path_of(layout_.files[i]), error);
      if (error) {
        return fail(ErrorCode::kIo, "check the directory's permissions", "cannot rename {}: {}",
                    partial_paths_[i], error.message());
      }
    }
    partial_paths_.clear();
    if (layout_.index_json.empty()) return {};
    const auto path = options_.out_dir / "model.safetensors.index.json";
    DSL_ASSIGN(const UniqueFd fd, create_file(path));
    return write_all(fd.get(), std::as_bytes(std::span(layout_.index_json)), 0, path.string());
  }

  void work() {
    std::vector<float> values;
    std::vector<std::byte> stored;
    std::vector<float> scales;
    while (!has_failed_) {
      const std::size_t i = next_chunk_++;
      if (i >= chunks_.size()) return;
      auto written = write_chunk(chunks_[i], values, stored, scales);
      const std::scoped_lock lock(mutex_);
      if (!written) {
        if (!failure_) failure_ = std::move(written).error();
        has_failed_ = true;
        return;
      }
      bytes_done_ += *written;
      if (progress_ && bytes_done_ - bytes_reported_ >= kReportBytes &&
          bytes_done_ < layout_.total_bytes) {
        bytes_reported_ = bytes_done_;
        progress_(bytes_done_, layout_.total_bytes);
      }
    }
  }

  /// Bytes written.
  Result<std::int64_t> write_chunk(const Chunk& chunk, std::vector<float>& values,
                                   std::vector<std::byte>& stored, std::vector<float>& scales) {
    const SynthTensor& tensor = layout_.tensors[chunk.tensor];
    const StoredFile& file = layout_.files[tensor.file];
    const int fd = fds_[tensor.file].get();
    const StoredTensor& place = file.tensors[tensor.values];
    const std::int64_t cols = num_columns(tensor.planned);
    const std::int64_t first = chunk.first_row * cols;
    const auto element_bytes = static_cast<std::int64_t>(size_of(place.dtype));

    values.resize(static_cast<std::size_t>(chunk.num_rows * cols));
    const SyntheticRange range = synthetic_range(tensor.planned);
    fill_synthetic(synthetic_key(tensor.planned.values_name(), options_.seed),
                   static_cast<std::uint64_t>(first), range.offset, range.amplitude, values);
    stored.resize(values.size() * size_of(place.dtype));
    std::int64_t written = static_cast<std::int64_t>(stored.size());
    if (tensor.scales) {
      scales.resize(static_cast<std::size_t>((cols + kScaleBlock - 1) / kScaleBlock));
      quantise_block_row(values, {chunk.num_rows, cols, is_power_of_two_}, stored, scales);
      DSL_ASSIGN(const std::int64_t scale_bytes,
                 write_scales(fd, file, file.tensors[*tensor.scales], chunk.first_row / kScaleBlock,
                              scales));
      written += scale_bytes;
    } else {
      encode(values, place.dtype, stored);
    }
    DSL_TRY(write_all(fd, stored, place.file_offset + first * element_bytes, file.name));
    return written;
  }

  static Result<std::int64_t> write_scales(int fd, const StoredFile& file,
                                           const StoredTensor& place, std::int64_t block_row,
                                           std::span<const float> scales) {
    std::vector<std::byte> stored(scales.size() * size_of(place.dtype));
    encode(scales, place.dtype, stored);
    const auto bytes = static_cast<std::int64_t>(stored.size());
    DSL_TRY(write_all(fd, stored, place.file_offset + block_row * bytes, file.name));
    return bytes;
  }

  const SynthOptions& options_;
  SynthLayout layout_;
  bool is_power_of_two_;
  const SynthProgress& progress_;
  std::vector<std::string> partial_paths_;
  std::vector<UniqueFd> fds_;
  std::vector<Chunk> chunks_;
  std::atomic<std::size_t> next_chunk_{0};
  std::atomic<bool> has_failed_{false};
  std::mutex mutex_;
  std::optional<Error> failure_;
  std::int64_t bytes_done_ = 0;
  std::int64_t bytes_reported_ = 0;
};

/// The config.json of the new checkpoint: the given one, with the fields that state the format.
std::string output_config(const std::string& text, const SynthOptions& options,
                          bool is_power_of_two) {
  ordered_json config = ordered_json::parse(text);
  config.erase("quantization_config");
  config.erase("dtype");
  config["torch_dtype"] = options.format == SynthFormat::kF32   ? "float32"
                          : options.format == SynthFormat::kF16 ? "float16"
                                                                : "bfloat16";
  if (options.format == SynthFormat::kFp8) {
    ordered_json quantization{{"activation_scheme", "dynamic"},
                              {"fmt", "e4m3"},
                              {"quant_method", "fp8"},
                              {"weight_block_size", {kScaleBlock, kScaleBlock}}};
    if (is_power_of_two) quantization["scale_fmt"] = "ue8m0";
    config["quantization_config"] = std::move(quantization);
  }
  return config.dump(2) + "\n";
}

Status check_empty(const std::filesystem::path& out_dir) {
  for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json"}) {
    std::error_code ignored;
    if (!std::filesystem::exists(out_dir / name, ignored)) continue;
    return fail(ErrorCode::kInvalidArgument, "remove it or choose another --out",
                "{} holds a checkpoint already: {} is there", out_dir.string(), name);
  }
  return {};
}

}  // namespace

Status synthesize(const SynthOptions& options, const SynthProgress& progress) {
  DSL_ASSIGN(const std::string text,
             read_text_file(options.config_path, kMaxConfigBytes, ErrorCode::kModelConfig));
  DSL_ASSIGN(const ModelConfig config, parse_model_config(text, options.config_path.string()));
  const bool is_power_of_two = config.fp8 && config.fp8->ue8m0_scales;
  if (options.scale_dtype != DType::kF32 &&
      !(options.scale_dtype == DType::kF8E8M0 && is_power_of_two)) {
    return fail(ErrorCode::kInvalidArgument,
                "set quantization_config.scale_fmt to ue8m0, or store scales as F32",
                "{}: scales cannot be stored as {}", options.config_path.string(),
                name_of(options.scale_dtype));
  }
  DSL_TRY(check_empty(options.out_dir));
  Writer writer(options, lay_out(config, options), is_power_of_two, progress);
  DSL_TRY(writer.run());
  const auto path = options.out_dir / "config.json";
  DSL_ASSIGN(const UniqueFd fd, create_file(path));
  const std::string output = output_config(text, options, is_power_of_two);
  return write_all(fd.get(), std::as_bytes(std::span(output)), 0, path.string());
}

}  // namespace dsl::checkpoint
