// Loading a warm checkpoint against reading its files: load_bench MODEL_DIR.
//
// Both sides are timed seven times in turn; medians. Bytes: all weight files, so they must fit the
// page cache. The load is everything a rank of a world of one does with the weights: open, check
// headers, map, fault every page in.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "transport/base/unique_fd.h"

namespace dsl::checkpoint {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRounds = 7;

std::vector<std::filesystem::path> weight_files(const std::filesystem::path& model_dir) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(model_dir)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Seconds; `bytes` is what was read.
double read_files(const std::vector<std::filesystem::path>& files, std::int64_t& bytes) {
  std::vector<std::byte> buffer(1 << 20);
  const auto start = Clock::now();
  bytes = 0;
  for (const auto& path : files) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    for (ssize_t count = 1; count > 0; bytes += count) {
      count = ::read(fd.get(), buffer.data(), buffer.size());
    }
  }
  return seconds_since(start);
}

/// Every tensor as bytes of a [1, size] weight, so that any checkpoint can be loaded whole.
std::vector<WeightView> whole_tensors(const Checkpoint& checkpoint) {
  std::vector<WeightView> views;
  for (const TensorView& tensor : checkpoint.tensors()) {
    views.push_back({tensor.data, DType::kU8, 1, tensor.size_bytes, tensor.size_bytes, {}});
  }
  return views;
}

Result<double> load(const std::filesystem::path& model_dir) {
  const auto start = Clock::now();
  DSL_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(model_dir));
  DSL_TRY(prefetch(whole_tensors(checkpoint), {}, {}));
  return seconds_since(start);
}

int run(const std::filesystem::path& model_dir) {
  const auto files = weight_files(model_dir);
  std::int64_t bytes = 0;
  read_files(files, bytes);  // warms the page cache
  std::vector<double> reads;
  std::vector<double> loads;
  for (int round = 0; round < kRounds; ++round) {
    reads.push_back(read_files(files, bytes));
    const auto seconds = load(model_dir);
    if (!seconds) {
      std::fprintf(stderr, "%s\n", seconds.error().to_string().c_str());
      return 1;
    }
    loads.push_back(*seconds);
  }
  const auto gigabytes = static_cast<double>(bytes) / 1e9;
  std::printf(
      "read %.3f GB in %.3f s (%.2f GB/s), load in %.3f s (%.2f GB/s): %.2f x, at most 1.30 x "
      "asked\n",
      gigabytes, median(reads), gigabytes / median(reads), median(loads), gigabytes / median(loads),
      median(loads) / median(reads));
  return 0;
}

}  // namespace
}  // namespace dsl::checkpoint

int main(int argc, char** argv) {
  if (argc == 2) return dsl::checkpoint::run(argv[1]);
  std::fprintf(stderr, "usage: load_bench MODEL_DIR\n");
  return 2;
}
