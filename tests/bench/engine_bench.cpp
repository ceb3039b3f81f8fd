// Prefill and decode speed of an engine, beside what memory gives at the same time:
//   engine_bench MODEL_DIR [tp pp threads_per_rank prompt_tokens new_tokens batch kernels ranks]
// `ranks` are "processes" over the UCX wire (default) or "threads" of this process. A directory
// with only a config.json gets random BF16 weights first.
//
// Other work on a shared host changes its memory bandwidth from second to second. So every round
// is compared with the read bandwidth just before and after it, a split engine in turns with one
// process of as many threads, and the medians count. Equal prompts must bring equal tokens.
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/synth.h"
#include "engine/runtime/cpu_set.h"
#include "engine/runtime/read_bandwidth.h"
#include "engine/runtime/thread_pool.h"
#include "tests/unit/engine/in_process_world.h"
#include "tests/unit/transport/wire_world.h"

namespace dsl::testing {
namespace {

using namespace std::chrono_literals;

constexpr int kRounds = 9;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "{}\n", what);
  std::_Exit(1);
}

template <typename T>
T require(Result<T> result) {
  if (!result.has_value()) give_up(result.error().to_string());
  return *std::move(result);
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
    give_up(made.error().to_string());
  }
  return options.out_dir;
}

struct Arguments {
  EngineOptions engine;
  bool processes = true;
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

/// One engine and what its rounds gave.
struct Contestant {
  Engine& engine;
  std::vector<double> prefill = {};   // tokens/s
  std::vector<double> decode = {};    // tokens/s
  std::vector<double> fraction = {};  // of the read bandwidth around the round
};

class Benchmark {
 public:
  Benchmark(const Arguments& arguments, Engine& engine, ThreadPool& pool, Engine* one_process)
      : arguments_(arguments), pool_(pool), subject_{engine} {
    if (one_process != nullptr) baseline_.emplace(Contestant{*one_process});
  }

  void run() {
    warm_up(subject_);
    if (baseline_) warm_up(*baseline_);
    limits_.push_back(require(measure_read_bandwidth(pool_)));
    for (int round = 1; round <= kRounds; ++round) {
      const bool baseline_first = round % 2 == 1;
      if (baseline_ && baseline_first) measure(*baseline_, round);
      measure(subject_, round);
      if (baseline_ && !baseline_first) measure(*baseline_, round);
      if (baseline_) ratios_.push_back(subject_.decode.back() / baseline_->decode.back());
    }
  }

  void print() const {
    const EngineOptions& options = arguments_.engine;
    const EngineInfo& info = subject_.engine.info();
    print(subject_,
          fmt::format("tp {} pp {} threads {}, ranks are {}", options.tp, options.pp,
                      options.num_threads, arguments_.processes ? "processes" : "threads"));
    if (baseline_) {
      print(*baseline_, "one process, as many threads");
      fmt::print("decode against one process: {:.3f} (median of {} pairs, {:.3f} to {:.3f})\n",
                 median(ratios_), ratios_.size(), *std::min_element(ratios_.begin(), ratios_.end()),
                 *std::max_element(ratios_.begin(), ratios_.end()));
    }
    fmt::print("kernels {}, batch {}, {} MB a token, read bandwidth {:.1f} GB/s\n", info.kernels,
               arguments_.batch, info.active_bytes_per_token / 1'000'000, median(limits_) / 1e9);
  }

 private:
  static void print(const Contestant& contestant, const std::string& what) {
    fmt::print("{}: prefill {:.1f} tokens/s, decode {:.2f} tokens/s, {:.2f} of the bandwidth\n",
               what, median(contestant.prefill), median(contestant.decode),
               median(contestant.fraction));
  }

  void warm_up(Contestant& contestant) {
    measure_speed(contestant, 0);
    measure_speed(contestant, 0);
    contestant.prefill.clear();
    contestant.decode.clear();
  }

  void measure(Contestant& contestant, int round) {
    measure_speed(contestant, round);
    limits_.push_back(require(measure_read_bandwidth(pool_)));
    const double limit = (limits_.back() + limits_[limits_.size() - 2]) / 2;
    const auto bytes = static_cast<double>(contestant.engine.info().active_bytes_per_token);
    contestant.fraction.push_back(contestant.decode.back() / arguments_.batch * bytes / limit);
  }

  /// Every round has prompts of its own, so that no cached prefix helps.
  void measure_speed(Contestant& contestant, int round) {
    std::vector<PendingGeneration> pending;
    for (int i = 0; i < arguments_.batch; ++i) {
      pending.push_back(require(PendingGeneration::submit(
          contestant.engine, make_request(arguments_, contestant.engine.info().vocab_size,
                                          round * arguments_.batch + i))));
    }
    double slowest_prefill = 0;
    double slowest_decode = 0;
    std::vector<std::vector<std::int32_t>> tokens;
    for (auto& each : pending) {
      const Generated generated = each.wait();
      if (generated.finish_reason != FinishReason::kLength) give_up(generated.error.to_string());
      slowest_prefill = std::max(slowest_prefill, generated.timings.time_to_first_token_s);
      slowest_decode = std::max(slowest_decode, generated.timings.decode_s);
      tokens.push_back(generated.token_ids);
    }
    const auto& expected = tokens_.try_emplace(round, tokens).first->second;
    if (tokens != expected) give_up("a repeated round gave other tokens");
    contestant.prefill.push_back(arguments_.batch * arguments_.prompt_tokens / slowest_prefill);
    contestant.decode.push_back(arguments_.batch * (arguments_.new_tokens - 1) / slowest_decode);
  }

  const Arguments& arguments_;
  ThreadPool& pool_;
  Contestant subject_;
  std::optional<Contestant> baseline_;
  std::vector<double> limits_;  // bytes/s, one more than rounds of all contestants
  std::vector<double> ratios_;
  std::map<int, std::vector<std::vector<std::int32_t>>> tokens_;  // of a round's requests
};

int world_size(const EngineOptions& options) { return options.tp * options.pp; }

std::unique_ptr<ThreadPool> pool_of_all_threads(const EngineOptions& options) {
  return require(ThreadPool::create({options.num_threads * world_size(options), 0, 1, false}));
}

/// One process with as many threads as the ranks have together.
std::unique_ptr<InProcessWorld> one_process(EngineOptions options) {
  options.num_threads *= world_size(options);
  options.tp = options.pp = 1;
  return require(InProcessWorld::start(options));
}

void run_in_this_process(const Arguments& arguments) {
  const auto pool = pool_of_all_threads(arguments.engine);
  const auto world = require(InProcessWorld::start(arguments.engine));
  std::unique_ptr<InProcessWorld> baseline;
  if (world_size(arguments.engine) > 1) baseline = one_process(arguments.engine);
  Benchmark benchmark(arguments, world->leader(), *pool, baseline ? &baseline->leader() : nullptr);
  benchmark.run();
  benchmark.print();
}

/// Binds this process to its rank's share of the CPUs, as the launcher does.
void bind_rank(int rank, int ranks) {
  const std::vector<int> cpus = usable_cpus().cpus;
  const int count = static_cast<int>(cpus.size());
  if (count < ranks) return;
  cpu_set_t share;
  CPU_ZERO(&share);
  for (int i = count * rank / ranks; i < count * (rank + 1) / ranks; ++i) {
    CPU_SET(static_cast<std::size_t>(cpus[static_cast<std::size_t>(i)]), &share);
  }
  ::sched_setaffinity(0, sizeof(share), &share);
}

std::string lead(const Arguments& arguments, ThreadPool& pool, InProcessWorld& baseline,
                 wire::Wire& wire) {
  const auto engine = require(Engine::create(arguments.engine, &wire, nullptr));
  const Status started = engine->start([](const Error& error) { give_up(error.to_string()); });
  if (!started.has_value()) return started.error().to_string();
  Benchmark benchmark(arguments, *engine, pool, &baseline.leader());
  benchmark.run();
  benchmark.print();
  std::fflush(stdout);
  engine->shutdown();
  return "ok";
}

std::string follow(const Arguments& arguments, wire::Wire& wire) {
  const auto engine = require(Engine::create(arguments.engine, &wire, nullptr));
  const Status status = engine->follow();
  return status.has_value() ? "ok" : status.error().to_string();
}

int run_as_processes(const Arguments& arguments) {
  const int ranks = world_size(arguments.engine);
  const ForkedRanksOptions world{
      .world_size = ranks, .heartbeat_interval = 500ms, .failure_deadline = 20s};
  ForkedRanks processes(world, [&](int rank, const std::string& address) {
    if (rank > 0) {
      bind_rank(rank, ranks);
      return run_ucx_rank(world, rank, address, {},
                          [&](wire::Wire& wire) { return follow(arguments, wire); });
    }
    // Their threads must not be bound to the CPUs of rank 0.
    const auto pool = pool_of_all_threads(arguments.engine);
    const auto baseline = one_process(arguments.engine);
    bind_rank(rank, ranks);
    return run_ucx_rank(world, rank, address, {},
                        [&](wire::Wire& wire) { return lead(arguments, *pool, *baseline, wire); });
  });
  int failed = 0;
  const Deadline deadline = Deadline::after(10min);
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string result = processes.result(rank, deadline).value_or("no result");
    if (result == "ok") continue;
    fmt::print(stderr, "rank {}: {}\n", rank, result);
    failed = 1;
  }
  return failed;
}

}  // namespace
}  // namespace dsl::testing

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr,
               "usage: engine_bench MODEL_DIR [tp pp threads_per_rank prompt_tokens new_tokens "
               "batch kernels processes|threads]\n");
    return 2;
  }
  const auto number = [&](int index, int fallback) {
    return index < argc ? std::atoi(argv[index]) : fallback;
  };
  dsl::testing::Arguments arguments;
  dsl::EngineOptions& options = arguments.engine;
  options.model_dir = dsl::testing::with_weights(argv[1]);
  options.tp = number(2, 1);
  options.pp = number(3, 1);
  options.num_threads = number(4, 1);
  options.kernels = argc > 8 ? argv[8] : "auto";
  options.kv_tokens = 4096;
  options.prefix_cache = false;  // rounds repeat their prompts
  options.step_deadline = std::chrono::seconds(30);
  arguments.prompt_tokens = number(5, 256);
  arguments.new_tokens = number(6, 64);
  arguments.batch = number(7, 1);
  const int ranks = options.tp * options.pp;
  arguments.processes = ranks > 1 && std::string(argc > 9 ? argv[9] : "processes") == "processes";
  if (arguments.processes) return dsl::testing::run_as_processes(arguments);
  dsl::testing::run_in_this_process(arguments);
}
