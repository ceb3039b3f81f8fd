// What batching and the prefix cache bring, on an engine of one rank:
//   batching_bench MODEL_DIR [threads requests new_tokens shared_tokens]
// In every round the read bandwidth is measured, then one request decodes, then all at once, then a
// prompt is answered twice. The fraction of the limit counts the distinct weights that the steps
// touched. The tokens of repeated rounds must be the same.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "engine/runtime/read_bandwidth.h"
#include "engine/runtime/thread_pool.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7;
constexpr int kPromptTokens = 32;

struct Arguments {
  int requests = 16;
  int new_tokens = 64;
  int shared_tokens = 2000;
};

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

GenerateRequest make_request(std::int64_t vocab_size, int num_prompt, int num_new, int seed) {
  GenerateRequest request;
  for (int i = 0; i < num_prompt; ++i) {
    request.prompt_token_ids.push_back(
        static_cast<std::int32_t>((i * 7919LL + seed * 104729LL + 13) % vocab_size));
  }
  request.max_tokens = num_new;
  request.ignore_eos = true;
  request.sampling.num_logprobs = -1;
  return request;
}

/// Decoding of all requests side by side, from the first token of the last to the last of the
/// first.
struct DecodePhase {
  double tokens_per_s = 0;
  double bytes_per_s = 0;
  double bytes_per_step = 0;
  std::vector<std::int32_t> token_ids;
};

DecodePhase decode(Engine& engine, int count, const Arguments& arguments) {
  struct Shared {
    std::mutex mutex;
    int num_started = 0;
    int num_ended = 0;
    Clock::time_point begin, end;
    EngineStats at_begin, at_end;
    std::vector<std::vector<std::int32_t>> token_ids;
    std::atomic<bool> done{false};
  };
  Shared shared;
  shared.token_ids.resize(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    const auto sink = [&, i](GenerateEvent event) {
      const std::lock_guard lock(shared.mutex);
      auto& ids = shared.token_ids[static_cast<std::size_t>(i)];
      const bool is_first = ids.empty();
      for (const auto& token : event.tokens) ids.push_back(token.token_id);
      if (is_first && ++shared.num_started == count) {
        shared.begin = Clock::now();
        shared.at_begin = engine.stats();
      }
      if (!event.finished) return;
      if (shared.num_ended == 0) {
        shared.end = Clock::now();
        shared.at_end = engine.stats();
      }
      if (++shared.num_ended == count) shared.done = true;
    };
    const auto request =
        make_request(engine.info().vocab_size, kPromptTokens, arguments.new_tokens, i);
    if (!engine.submit(request, sink).has_value()) std::exit(1);
  }
  while (!shared.done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const std::lock_guard lock(shared.mutex);
  const double elapsed = seconds(shared.end - shared.begin);
  const auto steps = static_cast<double>(shared.at_end.num_steps - shared.at_begin.num_steps);
  const auto bytes = static_cast<double>(shared.at_end.weight_bytes - shared.at_begin.weight_bytes);
  const auto rows = static_cast<double>(shared.at_end.num_rows - shared.at_begin.num_rows);
  return {rows / elapsed, bytes / elapsed, bytes / steps, shared.token_ids.front()};
}

double time_to_first_token(InProcessWorld& world, const GenerateRequest& request,
                           std::int64_t cached) {
  const Generated generated = world.generate(request);
  if (generated.cached_prompt_tokens != cached) {
    fmt::print(stderr, "{} prompt tokens were cached, expected {}\n",
               generated.cached_prompt_tokens, cached);
    std::exit(1);
  }
  return generated.timings.time_to_first_token_s;
}

int run(const EngineOptions& options, const Arguments& arguments) {
  auto pool = ThreadPool::create({options.num_threads, 0, 1, false});
  auto world = InProcessWorld::start(options);
  if (!world.has_value() || !pool.has_value()) {
    fmt::print(stderr, "{}\n", world.error().to_string());
    return 1;
  }
  Engine& engine = (*world)->leader();
  std::vector<double> limits, one_rates, all_rates, one_fractions, all_fractions, speedups;
  std::vector<double> first_times, second_times, time_ratios;
  DecodePhase one;
  DecodePhase all;
  std::vector<std::int32_t> tokens;
  for (int round = 0; round < kRounds; ++round) {
    const auto measure = [&] { return measure_read_bandwidth(**pool).value(); };
    const double before = measure();
    one = decode(engine, 1, arguments);
    const double between = measure();
    all = decode(engine, arguments.requests, arguments);
    const double after = measure();
    if (round > 0 && (one.token_ids != tokens || all.token_ids != tokens)) {
      fmt::print(stderr, "round {} gave other tokens than round 0\n", round);
      return 1;
    }
    tokens = one.token_ids;
    limits.push_back((between + after) / 2);
    one_rates.push_back(one.tokens_per_s);
    all_rates.push_back(all.tokens_per_s);
    one_fractions.push_back(one.bytes_per_s / ((before + between) / 2));
    all_fractions.push_back(all.bytes_per_s / limits.back());
    speedups.push_back(all.tokens_per_s / one.tokens_per_s);

    GenerateRequest shared =
        make_request(engine.info().vocab_size, arguments.shared_tokens, 1, 1000 + round);
    const std::int64_t cached = arguments.shared_tokens / 32 * 32;
    shared.prompt_token_ids.insert(shared.prompt_token_ids.end(), 30, 1);
    first_times.push_back(time_to_first_token(**world, shared, 0));
    std::fill_n(shared.prompt_token_ids.rbegin(), 30, 2);
    second_times.push_back(time_to_first_token(**world, shared, cached));
    time_ratios.push_back(second_times.back() / first_times.back());
  }
  const double limit = median(limits);
  fmt::print("kernels {}, {} threads, read bandwidth {:.1f} GB/s\n", engine.info().kernels,
             options.num_threads, limit / 1e9);
  fmt::print("decode, 1 request: {:.2f} tokens/s, {:.0f} MB a step, fraction of the limit {:.2f}\n",
             median(one_rates), one.bytes_per_step / 1e6, median(one_fractions));
  fmt::print(
      "decode, {} requests: {:.2f} tokens/s ({:.2f} x one), {:.0f} MB a step, fraction of the "
      "limit {:.2f}\n",
      arguments.requests, median(all_rates), median(speedups), all.bytes_per_step / 1e6,
      median(all_fractions));
  fmt::print("{} tokens of shared prefix: time to first token {:.3f} s, then {:.3f} s ({:.1f} %)\n",
             arguments.shared_tokens, median(first_times), median(second_times),
             100 * median(time_ratios));
  return 0;
}

}  // namespace
}  // namespace dsl::testing

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr,
               "usage: batching_bench MODEL_DIR [threads requests new_tokens shared_tokens]\n");
    return 2;
  }
  const auto number = [&](int index, int fallback) {
    return index < argc ? std::atoi(argv[index]) : fallback;
  };
  dsl::EngineOptions options;
  options.model_dir = argv[1];
  options.num_threads = number(2, 2);
  options.kv_tokens = 32768;
  options.step_deadline = std::chrono::seconds(30);
  return dsl::testing::run(options, {number(3, 16), number(4, 64), number(5, 2000)});
}
