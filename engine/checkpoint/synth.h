// Writes checkpoints of random weights in any supported geometry, for benchmarks and tests without
// downloads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "engine/tensor/dtype.h"
#include "transport/base/error.h"

namespace dsl::checkpoint {

/// How linear weights are stored. kFp8: e4m3 with 128x128 block scales; embedding, head, norms,
/// router and MTP projection stay BF16.
enum class SynthFormat : std::uint8_t { kF32, kBF16, kF16, kFp8 };

struct SynthOptions {
  std::filesystem::path
      config_path;  // a config.json; its quantization_config is replaced to fit `format`
  std::filesystem::path out_dir;  // made when it is not there; must not hold weights
  SynthFormat format = SynthFormat::kBF16;
  /// Of kFp8: kF32, or kF8E8M0 with a configuration whose scale_fmt is ue8m0.
  DType scale_dtype = DType::kF32;
  std::uint64_t seed = 0;
  std::int64_t max_file_bytes = std::int64_t{4}
                                << 30;  // more than this: several files and an index
  int num_threads = 0;                  // 0: all cores this process may use
};

/// Called with bytes written and bytes to write, from one thread at a time.
using SynthProgress = std::function<void(std::int64_t bytes_done, std::int64_t bytes_total)>;

/// Writes config.json, model.safetensors (or numbered files with their index), MTP layers included.
/// The bytes of a tensor depend on the seed, the name and the format alone. On an error nothing
/// complete-looking is left behind. kInvalidArgument: out_dir holds weights already; kIo: the disk;
/// kModelConfig and kModelUnsupported: the config.
Status synthesize(const SynthOptions& options, const SynthProgress& progress);

}  // namespace dsl::checkpoint
