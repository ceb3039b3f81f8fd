#include "launcher/commands/engine_bench.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

namespace dsl::launcher {
namespace {

struct Round {
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;
};

std::vector<std::int32_t> random_prompt(std::mt19937_64& random, std::int64_t num_tokens,
                                        std::int64_t vocab_size) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(num_tokens));
  for (std::int32_t& id : ids) {
    id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab_size));
  }
  return ids;
}

/// Sends all requests at once, one connection and thread each, and waits for all answers.
Result<std::vector<GenerateResult>> send_all(const EngineClient& client,
                                             const std::vector<GenerateOptions>& requests,
                                             Cancellation& cancellation) {
  std::mutex mutex;
  std::vector<GenerateResult> results;
  std::optional<Error> problem;
  // A Cancellation has one hook, so each thread listens to one of its own.
  std::vector<Cancellation> stops(requests.size());
  cancellation.set_hook([&] {
    for (Cancellation& stop : stops) {
      stop.cancel(Error{ErrorCode::kCancelled, "the benchmark was stopped", ""});
    }
  });
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    threads.emplace_back([&, i] {
      Result<GenerateResult> result = client.generate(requests[i], stops[i], {});
      const std::lock_guard lock(mutex);
      if (result) {
        results.push_back(*std::move(result));
      } else if (!problem) {
        problem = std::move(result).error();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  cancellation.set_hook({});
  if (std::optional<Error> reason = cancellation.reason()) {
    return tl::unexpected<Error>(*std::move(reason));
  }
  if (problem) return tl::unexpected<Error>(*std::move(problem));
  return results;
}

/// Requests of a round run side by side: the slowest one says how long the round took.
Result<Round> measure(const std::vector<GenerateResult>& results,
                      const EngineBenchOptions& options) {
  double prefill_s = 0;
  double decode_s = 0;
  for (const GenerateResult& result : results) {
    if (result.completion_tokens != options.gen_tokens) {
      return fail(ErrorCode::kProtocol, "use fewer --gen-tokens, or a model with a longer context",
                  "a request brought {} tokens, expected {} (finish reason {})",
                  result.completion_tokens, options.gen_tokens, result.finish_reason);
    }
    prefill_s = std::max(prefill_s, result.prefill_s);
    decode_s = std::max(decode_s, result.decode_s);
  }
  if (prefill_s <= 0 || decode_s <= 0) {
    return fail(ErrorCode::kProtocol, "use dsengine and dslaunch of one version",
                "the engine reported no times");
  }
  const auto batch = static_cast<double>(options.batch);
  return Round{batch * static_cast<double>(options.prompt_tokens) / prefill_s,
               batch * static_cast<double>(options.gen_tokens - 1) / decode_s};
}

}  // namespace

double median(std::vector<double> values) {
  DSL_CHECK(!values.empty(), "median of nothing");
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Result<EngineBenchResult> run_engine_bench(const EngineClient& client,
                                           const EngineDescription& engine,
                                           const EngineBenchOptions& options,
                                           const ReadBandwidth& read_bandwidth,
                                           Cancellation& cancellation,
                                           const std::function<void(int, int)>& on_round) {
  std::mt19937_64 random(static_cast<std::uint64_t>(options.seed));
  std::vector<double> prefill;
  std::vector<double> decode;
  std::vector<double> limits;
  std::vector<double> fractions;
  const auto bytes_per_s = [&](double decode_tokens_per_s) {
    return decode_tokens_per_s / options.batch * static_cast<double>(engine.active_bytes_per_token);
  };
  for (int round = 0; round <= options.repetitions; ++round) {
    std::vector<GenerateOptions> requests(static_cast<std::size_t>(options.batch));
    for (GenerateOptions& request : requests) {
      request.token_ids = random_prompt(random, options.prompt_tokens, engine.vocab_size);
      request.max_tokens = options.gen_tokens;
      request.sampling.ignore_eos = true;
      request.sampling.temperature = 0;
    }
    DSL_ASSIGN(const std::vector<GenerateResult> results, send_all(client, requests, cancellation));
    DSL_ASSIGN(const Round measured, measure(results, options));
    on_round(round, options.repetitions);
    DSL_ASSIGN(const double limit, read_bandwidth());
    limits.push_back(limit);
    if (round == 0) continue;  // warm-up
    prefill.push_back(measured.prefill_tokens_per_s);
    decode.push_back(measured.decode_tokens_per_s);
    const double around = (limit + limits[limits.size() - 2]) / 2;
    fractions.push_back(bytes_per_s(measured.decode_tokens_per_s) / around);
  }
  EngineBenchResult result;
  result.prefill_tokens_per_s = median(prefill);
  result.decode_tokens_per_s = median(decode);
  result.decode_steps_per_s = result.decode_tokens_per_s / options.batch;
  result.decode_bytes_per_s = bytes_per_s(result.decode_tokens_per_s);
  result.read_bytes_per_s = median(limits);
  result.fraction = median(fractions);
  return result;
}

}  // namespace dsl::launcher
