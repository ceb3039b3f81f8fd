// Prefill and decode speed of an engine whose ranks are threads of this process, as fractions of
// the machine's measured read bandwidth:
//   engine_bench MODEL_DIR [tp pp threads_per_rank prompt_tokens new_tokens batch kernels]
// A directory with only a config.json gets random BF16 weights first. The tokens of repeated runs
// must be the same.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/checkpoint/synth.h"
#include "engine/runtime/read_bandwidth.h"
#include "engine/runtime/thread_pool.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

constexpr int kRounds = 7;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double best(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

/// Bytes of this process in memory: of files and of its own.
std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

std::filesystem::path with_weights(const std::filesystem::path& dir) {
  if (std::filesystem::exists(dir / "tokenizer.json") ||
      std::filesystem::exists(dir / "model.safetensors") ||
      std::filesystem::exists(dir / "model.safetensors.index.json")) {
    return dir;
  }
  checkpoint::SynthOptions options;
  options.config_path = dir / "config.json";
  options.out_dir = dir / "bf16";
  if (std::filesystem::exists(options.out_dir)) return options.out_dir;
  if (const Status made = checkpoint::synthesize(options, nullptr); !made.has_value()) {
    fmt::print(stderr, "{}\n", made.error().to_string());
    std::exit(1);
  }
  return options.out_dir;
}

struct Arguments {
  int prompt_tokens = 256;
  int new_tokens = 64;
  int batch = 1;
};

GenerateRequest make_request(const Arguments& arguments, std::int64_t vocab_size, int index) {
  GenerateRequest request;
  for (int i = 0; i < arguments.prompt_tokens; ++i) {
    request.prompt_token_ids.push_back(
        static_cast<std::int32_t>((i * 7919 + index * 104729 + 13) % vocab_size));
  }
  request.max_tokens = arguments.new_tokens;
  request.ignore_eos = true;
  request.sampling.num_logprobs = -1;
  return request;
}

int run(EngineOptions options, const Arguments& arguments) {
  const double bandwidth = [&] {
    auto pool = ThreadPool::create({options.num_threads * options.tp, 0, 1, false});
    return measure_read_bandwidth(**pool).value();
  }();
  const auto begin = std::chrono::steady_clock::now();
  auto world = InProcessWorld::start(options);
  if (!world.has_value()) {
    fmt::print(stderr, "{}\n", world.error().to_string());
    return 1;
  }
  const double load_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const EngineInfo& info = (*world)->leader().info();

  std::vector<double> prefill;
  std::vector<double> decode;
  std::vector<std::int32_t> tokens;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<PendingGeneration> pending;
    for (int i = 0; i < arguments.batch; ++i) {
      pending.push_back(
          PendingGeneration::submit((*world)->leader(), make_request(arguments, info.vocab_size, i))
              .value());
    }
    double slowest_prefill = 0;
    double slowest_decode = 0;
    for (auto& each : pending) {
      const Generated generated = each.wait();
      slowest_prefill = std::max(slowest_prefill, generated.timings.time_to_first_token_s);
      slowest_decode = std::max(slowest_decode, generated.timings.decode_s);
      if (&each != &pending.front()) continue;
      if (round > 0 && generated.token_ids != tokens) {
        fmt::print(stderr, "round {} gave other tokens than round 0\n", round);
        return 1;
      }
      tokens = generated.token_ids;
    }
    prefill.push_back(arguments.batch * arguments.prompt_tokens / slowest_prefill);
    decode.push_back(arguments.batch * (arguments.new_tokens - 1) / slowest_decode);
  }

  const double steps_per_s = median(decode) / arguments.batch;
  const double bytes_per_s = steps_per_s * static_cast<double>(info.active_bytes_per_token);
  fmt::print(
      "kernels {} tp {} pp {} threads {} batch {}: load {:.2f} s, prefill {:.1f} tokens/s (best "
      "{:.1f}), decode {:.2f} tokens/s (best {:.2f})\n",
      info.kernels, options.tp, options.pp, options.num_threads, arguments.batch, load_s,
      median(prefill), best(prefill), median(decode), best(decode));
  fmt::print("active {} MB/token, {:.1f} GB/s of {:.1f} GB/s measured: fraction {:.2f}\n",
             info.active_bytes_per_token / 1'000'000, bytes_per_s / 1e9, bandwidth / 1e9,
             bytes_per_s / bandwidth);
  fmt::print("resident {} MB, shard of rank 0 {} MB\n", resident_bytes() / 1'000'000,
             info.shard_bytes / 1'000'000);
  return 0;
}

}  // namespace
}  // namespace dsl::testing

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr,
               "usage: engine_bench MODEL_DIR [tp pp threads_per_rank prompt_tokens new_tokens "
               "batch kernels]\n");
    return 2;
  }
  const auto number = [&](int index, int fallback) {
    return index < argc ? std::atoi(argv[index]) : fallback;
  };
  dsl::EngineOptions options;
  options.model_dir = dsl::testing::with_weights(argv[1]);
  options.tp = number(2, 1);
  options.pp = number(3, 1);
  options.num_threads = number(4, 1);
  options.kernels = argc > 8 ? argv[8] : "auto";
  options.kv_tokens = 4096;
  options.prefix_cache = false;  // rounds repeat their prompts
  options.step_deadline = std::chrono::seconds(30);
  return dsl::testing::run(options, {number(5, 256), number(6, 64), number(7, 1)});
}
