// Rounds of equal random requests, and the medians of their speed.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "launcher/engine_client/engine_client.h"
#include "launcher/process/cancellation.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct EngineBenchOptions {
  std::int64_t prompt_tokens = 256;
  std::int64_t gen_tokens = 64;
  int batch = 1;
  int repetitions = 5;
  std::int64_t seed = 1;
};

/// Medians over the rounds.
struct EngineBenchResult {
  double prefill_tokens_per_s = 0;  // over all requests of a round
  double decode_tokens_per_s = 0;
  double decode_steps_per_s = 0;  // each step brings every running request one token
  double decode_bytes_per_s = 0;  // weights a batch-1 step reads x steps per second
  double read_bytes_per_s = 0;    // what the machine can read
  double fraction = 0;  // of each round's bytes and the read bandwidth just before and after it
};

/// Bytes per second that the machine, idle meanwhile, reads from memory.
using ReadBandwidth = std::function<Result<double>()>;

/// One round to warm up, then `repetitions`, each with prompts of its own (no cache of prefixes
/// helps) and ignore_eos. The read bandwidth is measured before and after each, because a shared
/// machine's swings. kProtocol when a request brings another number of tokens than asked for.
Result<EngineBenchResult> run_engine_bench(const EngineClient& client,
                                           const EngineDescription& engine,
                                           const EngineBenchOptions& options,
                                           const ReadBandwidth& read_bandwidth,
                                           Cancellation& cancellation,
                                           const std::function<void(int, int)>& on_round);

/// The middle value, or the mean of the two in the middle; `values` must not be empty.
double median(std::vector<double> values);

}  // namespace dsl::launcher
