// The choice of a token from a row of logits, by one block.
#pragma once

#include "engine/kernels/cuda/scalars.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"
#include "engine/kernels/token_choice.h"
#include "engine/runtime/philox.h"

namespace dsl::cuda {

extern __shared__ unsigned char shared_bytes[];

inline constexpr int kChoiceThreads = 1024;
inline constexpr int kChoiceWarps = kChoiceThreads / kWarpSize;
inline constexpr std::size_t kChoiceSharedBytes = kChoiceWarps * sizeof(double);
/// Logits that a thread reads before it looks at the first.
inline constexpr int kLogitsAtOnce = 4;
/// Tokens that a thread keeps once no other can be in front.
inline constexpr int kKeptTokens = 8;
/// Below this a division by the temperature could overflow; the choice is greedy long before.
inline constexpr float kGreedyTemperature = 1e-5f;

/// What a block leaves for the host.
struct DeviceChoice {
  std::int32_t token_id = 0;
  std::int32_t bad_token = -1;  // a token with NaN or +inf, or -1
  float largest = 0;            // of all logits; -inf: there is nothing to choose
  float logit = 0;              // of the token
  double sum = 0;               // of exp(logit - largest), where logprobs are asked for
};

/// Combines a value of every thread of the block, the same result on all of them; the order is
/// fixed.
template <typename T, typename Combine>
__device__ T block_combine(T value, const Combine& combine) {
  static_assert(sizeof(T) == sizeof(double));
  T* of_warps = reinterpret_cast<T*>(shared_bytes);
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  if (lane_index() == 0) of_warps[warp_index()] = value;
  __syncthreads();
  value = of_warps[lane_index() % kChoiceWarps];
#pragma unroll
  for (int distance = kChoiceWarps / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  __syncthreads();
  return value;
}

__device__ inline double block_add(double value) {
  return block_combine(value, [](double a, double b) { return a + b; });
}

__device__ inline double block_max(double value) {
  return block_combine(value, [](double a, double b) { return a > b ? a : b; });
}

__device__ inline std::uint64_t block_max(std::uint64_t value) {
  return block_combine(value, [](std::uint64_t a, std::uint64_t b) { return a > b ? a : b; });
}

/// Orders logits descending and tokens with equal ones ascending: the larger key comes first. No
/// two tokens have the same.
__device__ inline std::uint64_t choice_key(float logit, std::int64_t token) {
  return std::uint64_t{ordered_bits(logit)} << 32 |
         (0xffffffffu - static_cast<std::uint32_t>(token));
}
/// Bits of a token id, at most.
inline constexpr int kTokenBits = 22;

__device__ inline std::int32_t token_of(std::uint64_t key) {
  return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(key));
}

/// A row while a token is chosen from it.
class ChoiceRow {
 public:
  __device__ ChoiceRow(const float* logits, std::int64_t size, const TokenChoice& choice)
      : logits_(logits), size_(size), choice_(choice) {}

  /// Calls work(token, logit) for those of this thread, ascending.
  template <typename Work>
  __device__ void each(const Work& work) const {
    for (std::int64_t first = threadIdx.x; first < size_; first += kLogitsAtOnce * kChoiceThreads) {
      float logits[kLogitsAtOnce];
#pragma unroll
      for (int i = 0; i < kLogitsAtOnce; ++i) {
        if (first + i * kChoiceThreads < size_) logits[i] = logits_[first + i * kChoiceThreads];
      }
#pragma unroll
      for (int i = 0; i < kLogitsAtOnce; ++i) {
        if (first + i * kChoiceThreads < size_) work(first + i * kChoiceThreads, logits[i]);
      }
    }
  }

  /// The largest key, and a token with NaN or +inf, or -1.
  struct Extremes {
    std::uint64_t largest_key;
    std::int32_t bad_token;
  };
  __device__ Extremes extremes() const {
    std::uint64_t best = 0;
    double bad = -1;
    each([&](std::int64_t i, float logit) {
      const std::uint64_t key = choice_key(logit, i);
      if (key > best) best = key;
      if (!(logit < __builtin_huge_valf())) bad = static_cast<double>(i);
    });
    return {block_max(best), static_cast<std::int32_t>(block_max(bad))};
  }

  /// The largest key below `limit`; 0 when there is none.
  __device__ std::uint64_t largest_below(std::uint64_t limit) const {
    std::uint64_t best = 0;
    each([&](std::int64_t i, float logit) {
      const std::uint64_t key = choice_key(logit, i);
      if (key < limit && key > best) best = key;
    });
    return block_max(best);
  }

  /// Weight of a token that may be drawn, or 0. The likeliest has weight 1.
  __device__ float weight(float logit, float largest) const {
    const float weight = expf((logit - largest) / choice_.temperature);
    return weight < choice_.min_p ? 0 : weight;
  }

  /// What a token counts for on the way to the end of those that may be drawn.
  enum class Measure { kOne, kWeight };

  /// The tokens that may be drawn, in the order of their keys, until the sum of their measures
  /// reaches `goal`: the last one's key, or 0 when all of them do not. Tokens below `lowest` are
  /// left out. The key is found bit by bit, the highest first. As soon as every thread has few
  /// tokens left it keeps them and reads no others, which changes no sum.
  __device__ std::uint64_t front_end(double goal, float largest, std::uint64_t lowest,
                                     Measure measure) const {
    std::uint64_t kept_keys[kKeptTokens];
    float kept_measures[kKeptTokens];
    int num_kept = -1;
    std::uint64_t key = 0;
#pragma unroll 1
    for (int bit = 63; bit >= 0; --bit) {
      if (bit == 31) {
        if (key == 0) return 0;
        // The bits that no token id reaches are set in every key.
        key |= 0xffffffffu << kTokenBits & 0xffffffffu;
        bit = kTokenBits - 1;
      }
      const std::uint64_t with_bit = key | std::uint64_t{1} << bit;
      const std::uint64_t least = with_bit > lowest ? with_bit : lowest;
      double sum = 0;
      int count = 0;
      if (num_kept >= 0) {
        for (int i = 0; i < num_kept; ++i) {
          if (kept_keys[i] >= least) sum += kept_measures[i];
        }
      } else {
        each([&](std::int64_t i, float logit) {
          const std::uint64_t own = choice_key(logit, i);
          if (own < least) return;
          const float own_weight = weight(logit, largest);
          if (!(own_weight > 0)) return;
          const float own_measure = measure == Measure::kOne ? 1 : own_weight;
          sum += own_measure;
          if (count < kKeptTokens) {
            kept_keys[count] = own;
            kept_measures[count] = own_measure;
          }
          ++count;
        });
      }
      if (!(block_add(sum) >= goal)) continue;
      key = with_bit;
      if (num_kept < 0 && block_max(static_cast<double>(count)) <= kKeptTokens) num_kept = count;
    }
    return key;
  }

  __device__ double sum_of_weights(float largest, std::uint64_t lowest) const {
    double sum = 0;
    each([&](std::int64_t i, float logit) {
      if (choice_key(logit, i) >= lowest) sum += weight(logit, largest);
    });
    return block_add(sum);
  }

  /// Keys of the tokens that top_k and top_p leave are at least this.
  __device__ std::uint64_t lowest_key(float largest) const {
    std::uint64_t lowest = 0;
    // One copy of the code serves both.
#pragma unroll 1
    for (const Measure measure : {Measure::kOne, Measure::kWeight}) {
      const bool is_top_k = measure == Measure::kOne;
      if (is_top_k ? choice_.top_k <= 0 : choice_.top_p >= 1) continue;
      const double goal =
          is_top_k ? choice_.top_k : choice_.top_p * sum_of_weights(largest, lowest);
      const std::uint64_t end = front_end(goal, largest, lowest, measure);
      if (end > lowest) lowest = end;
    }
    return lowest;
  }

  /// A race of exponential clocks, as the host runs it: the token with the largest weight /
  /// -log(u).
  __device__ std::int32_t race(float largest) const {
    const std::uint64_t lowest = lowest_key(largest);
    double best_rate = -1;
    double best_token = 0;
    each([&](std::int64_t i, float logit) {
      const float own_weight = weight(logit, largest);
      if (own_weight <= 0 || choice_key(logit, i) < lowest) return;
      const PhiloxBlock noise =
          token_noise(choice_.seed, choice_.position, static_cast<std::uint32_t>(i / 4));
      const double rate = own_weight / -log(uniform_of(noise.words[i % 4]));
      if (rate > best_rate) {  // of equal ones the lower token, which comes first
        best_rate = rate;
        best_token = static_cast<double>(i);
      }
    });
    const double winning = block_max(best_rate);
    const double token =
        block_combine(best_rate == winning ? best_token : static_cast<double>(size_),
                      [](double a, double b) { return a < b ? a : b; });
    return static_cast<std::int32_t>(token);
  }

  __device__ double sum_of_exponentials(float largest) const {
    double sum = 0;
    each([&](std::int64_t, float logit) { sum += expf(logit - largest); });
    return block_add(sum);
  }

 private:
  const float* logits_;
  std::int64_t size_;
  const TokenChoice& choice_;
};

/// choices[row] and its token in chosen[row]; the likeliest tokens that its logprobs ask for in
/// likeliest[row * max_logprobs ...] and their logits beside them. Grid: rows.
__global__ void __launch_bounds__(kChoiceThreads)
    choose_token_kernel(MatrixView<const float> logits, const TokenChoice* choices,
                        std::int64_t max_logprobs, DeviceChoice* chosen,
                        TokenWithLogprob* likeliest) {
  take_turn();
  const float* row_logits = logits.data + std::int64_t{blockIdx.x} * logits.row_stride;
  const TokenChoice choice = choices[blockIdx.x];
  const ChoiceRow row(row_logits, logits.cols, choice);
  DeviceChoice result;
  const ChoiceRow::Extremes extremes = row.extremes();
  result.bad_token = extremes.bad_token;
  std::uint64_t key = extremes.largest_key;
  result.token_id = token_of(key);
  result.largest = row_logits[result.token_id];
  const bool is_usable = result.bad_token < 0 && result.largest > -__builtin_huge_valf();
  if (is_usable && choice.temperature >= kGreedyTemperature) {
    result.token_id = row.race(result.largest);
  }
  result.logit = row_logits[result.token_id];
  if (is_usable && choice.num_logprobs >= 0) result.sum = row.sum_of_exponentials(result.largest);
  for (std::int64_t i = 0; is_usable && i < choice.num_logprobs && i < logits.cols; ++i) {
    if (i > 0) key = row.largest_below(key);
    if (threadIdx.x != 0) continue;
    likeliest[std::int64_t{blockIdx.x} * max_logprobs + i] = {token_of(key),
                                                              row_logits[token_of(key)]};
  }
  if (threadIdx.x == 0) chosen[blockIdx.x] = result;
}

}  // namespace dsl::cuda
