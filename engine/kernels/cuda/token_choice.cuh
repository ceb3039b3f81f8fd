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

  template <typename Work>
  __device__ void each(const Work& work) const {
    for (std::int64_t i = threadIdx.x; i < size_; i += kChoiceThreads) work(i, logits_[i]);
  }

  /// The largest key below `limit`; 0 when there is none.
  __device__ std::uint64_t largest_below(std::uint64_t limit) const {
    std::uint64_t best = 0;
    each([&](std::int64_t i, float logit) {
      const std::uint64_t key = choice_key(logit, i);
      if (key < limit && key > best) best = key;
    });
    return block_combine(best, [](std::uint64_t a, std::uint64_t b) { return a > b ? a : b; });
  }

  /// Weight of a token that may be drawn, or 0. The likeliest has weight 1.
  __device__ float weight(float logit, float largest) const {
    const float weight = expf((logit - largest) / choice_.temperature);
    return weight < choice_.min_p ? 0 : weight;
  }

  /// The tokens that may be drawn, in the order of their keys, until the sum of their measures
  /// reaches `goal`: the last one's key, or 0 when all of them do not. Tokens below `lowest` are
  /// left out. The key is found bit by bit, the highest first.
  template <typename Measure>
  __device__ std::uint64_t front_end(double goal, float largest, std::uint64_t lowest,
                                     const Measure& measure) const {
    const auto reaches = [&](std::uint64_t key) {
      double sum = 0;
      each([&](std::int64_t i, float logit) {
        const std::uint64_t own = choice_key(logit, i);
        if (own < key || own < lowest) return;
        const float own_weight = weight(logit, largest);
        if (own_weight > 0) sum += measure(own_weight);
      });
      return block_add(sum) >= goal;
    };
    std::uint64_t key = 0;
    const auto settle = [&](int bit) {
      const std::uint64_t with_bit = key | std::uint64_t{1} << bit;
      if (reaches(with_bit)) key = with_bit;
    };
    for (int bit = 63; bit >= 32; --bit) settle(bit);
    if (key == 0) return 0;
    // The bits that no token id reaches are set in every key.
    key |= 0xffffffffu << kTokenBits & 0xffffffffu;
    for (int bit = kTokenBits - 1; bit >= 0; --bit) settle(bit);
    return key;
  }

  /// Keys of the tokens that top_k and top_p leave are at least this.
  __device__ std::uint64_t lowest_key(float largest) const {
    std::uint64_t lowest = 0;
    if (choice_.top_k > 0) {
      lowest = front_end(choice_.top_k, largest, 0, [](float) { return 1.0; });
    }
    if (choice_.top_p >= 1) return lowest;
    double total = 0;
    each([&](std::int64_t i, float logit) {
      if (choice_key(logit, i) >= lowest) total += weight(logit, largest);
    });
    total = block_add(total);
    const std::uint64_t end = front_end(choice_.top_p * total, largest, lowest,
                                        [](float own_weight) -> double { return own_weight; });
    return end > lowest ? end : lowest;
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
    const double winning =
        block_combine(best_rate, [](double a, double b) { return a > b ? a : b; });
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

  /// A token with NaN or +inf, or -1.
  __device__ std::int32_t bad_token() const {
    double bad = -1;
    each([&](std::int64_t i, float logit) {
      if (!(logit < __builtin_huge_valf())) bad = static_cast<double>(i);
    });
    return static_cast<std::int32_t>(
        block_combine(bad, [](double a, double b) { return a > b ? a : b; }));
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
  result.bad_token = row.bad_token();
  std::uint64_t key = row.largest_below(~std::uint64_t{0});
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
