#include <cstring>
#include <vector>

#include "engine/kernels/cuda/attention_check.h"
#include "engine/kernels/cuda/check_operands.h"
#include "engine/kernels/cuda/mla_launch.cuh"

namespace dsl::cuda {
namespace {

using Dims = DeepSeekDims;

constexpr std::int64_t kCheckedHeads = 64;
/// Of decoding three whole tiles and a part of one, of a prompt one and a part.
constexpr std::int64_t kCheckedPositions = 100;
/// Later positions have scores so much larger that the bases of exponentials must follow.
constexpr std::int64_t kFirstLargePosition = 64;
constexpr float kCheckedScale = 0.05f;
constexpr MlaShape kCheckedShape{kCheckedHeads, Dims::kNope, Dims::kRope,
                                 Dims::kValue,  Dims::kRank, kCheckedScale};

/// Vectors of `size` values, from `first_large` on of larger ones.
std::vector<BFloat16> checked_vectors(CheckRandom& random, std::int64_t count, std::int64_t size,
                                      std::int64_t first_large) {
  std::vector<BFloat16> vectors;
  for (std::int64_t i = 0; i < count * size; ++i) {
    const float factor = i / size < first_large ? 1.0f : 8.0f;
    vectors.push_back(to_bfloat16(random.value(4) * factor));
  }
  return vectors;
}

/// Cached positions, as a cache of one block.
struct CheckedCache {
  std::vector<BFloat16> latents;
  std::vector<std::int32_t> block_table{0};

  Result<PagedLatents> put(CheckOperands& space) const {
    DSL_ASSIGN(BFloat16* const data, space.put(latents));
    DSL_ASSIGN(const std::int32_t* const table, space.put(block_table));
    const LatentCache cache{data, DType::kBF16, 1, kCheckedPositions, Dims::kRank, Dims::kRope};
    return PagedLatents{cache, table, latent_layout(cache)};
  }
};

template <typename T>
std::optional<std::size_t> first_other(const std::vector<T>& found,
                                       const std::vector<T>& expected) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (std::memcmp(&found[i], &expected[i], sizeof(T)) != 0) return i;
  }
  return std::nullopt;
}

template <typename T>
Result<std::vector<T>> read_back(Launcher& launcher, const T* from, std::int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  DSL_TRY(launcher.read(values.data(), from, values.size() * sizeof(T)));
  return values;
}

/// All heads of one generated token.
Result<std::optional<std::string>> find_decode_difference(Launcher& launcher) {
  CheckRandom random;
  const CheckedCache cache{
      checked_vectors(random, kCheckedPositions, Dims::kCacheRow, kFirstLargePosition)};
  const auto query = checked_vectors(random, kCheckedHeads, Dims::kCacheRow, kCheckedHeads);
  const std::vector<AttentionRow> rows{{0, kCheckedPositions - 1, 0}};
  constexpr std::int64_t kValues = kCheckedHeads * Dims::kRank;
  constexpr std::int64_t kResults = kValues + 2 * kCheckedHeads;  // then bases, then sums
  DSL_ASSIGN(CheckOperands space, CheckOperands::open(launcher));
  AbsorbedRows pass;
  DSL_ASSIGN(pass.latents, cache.put(space));
  DSL_ASSIGN(pass.rows, space.put(rows));
  pass.num_rows = 1;
  pass.shape = kCheckedShape;
  DSL_ASSIGN(pass.query, space.put(query));
  float* const results = space.take<float>(kResults);
  pass.results = {results + kValues, results + kValues + kCheckedHeads, results, 1, Dims::kRank};
  run_decode_tiles<Dims, 1, BFloat16>(launcher, pass);
  DSL_ASSIGN(const auto expected, read_back(launcher, results, kResults));
  run_decode_warpgroups<Dims>(launcher, pass);
  DSL_ASSIGN(const auto found, read_back(launcher, results, kResults));
  const auto other = first_other(found, expected);
  if (!other) return std::nullopt;
  const auto place = static_cast<std::int64_t>(*other);
  const std::string_view what = place < kValues                   ? "values"
                                : place < kValues + kCheckedHeads ? "base"
                                                                  : "sum";
  return fmt::format("of a generated token the {} of head {}: {:a}, not {:a}", what,
                     place < kValues ? place / Dims::kRank : place % kCheckedHeads, found[*other],
                     expected[*other]);
}

/// One head of the last rows of a prompt.
Result<std::optional<std::string>> find_prompt_difference(Launcher& launcher) {
  constexpr std::int64_t kRows = 80;
  CheckRandom random;
  const CheckedCache cache{
      checked_vectors(random, kCheckedPositions, Dims::kCacheRow, kFirstLargePosition)};
  const auto expanded =
      checked_vectors(random, kCheckedPositions, Dims::kHeadFeatures, kFirstLargePosition);
  const auto query = checked_vectors(random, kRows, Dims::kQuery, kRows);
  DSL_ASSIGN(CheckOperands space, CheckOperands::open(launcher));
  MlaPrefill call;
  DSL_ASSIGN(call.latents, cache.put(space));
  call.first_position = kCheckedPositions - kRows;
  call.num_rows = kRows;
  DSL_ASSIGN(call.query, space.put(query));
  call.query_stride = Dims::kQuery;
  DSL_ASSIGN(call.expanded, space.put(expanded));
  call.out = space.take<BFloat16>(kRows * Dims::kValue);
  call.out_stride = Dims::kValue;
  call.softmax_scale = kCheckedScale;
  run_prefill_tiles<Dims>(launcher, 1, call);
  DSL_ASSIGN(const auto expected, read_back(launcher, call.out, kRows * Dims::kValue));
  run_prefill_warpgroups<Dims>(launcher, 1, call);
  DSL_ASSIGN(const auto found, read_back(launcher, call.out, kRows * Dims::kValue));
  const auto other = first_other(found, expected);
  if (!other) return std::nullopt;
  return fmt::format("of a prompt value {} of row {}: {}, not {}", *other % Dims::kValue,
                     *other / Dims::kValue, to_float(found[*other]), to_float(expected[*other]));
}

}  // namespace

bool has_warpgroup_attention(const MlaShape& shape) {
  bool is_there = false;
  with_mla_dims(shape, [&](auto dims) {
    is_there = kHasWarpgroupDecode<decltype(dims)> && kHasWarpgroupPrefill<decltype(dims)>;
  });
  return is_there;
}

Result<std::optional<std::string>> find_attention_difference(Launcher& launcher) {
  DSL_ASSIGN(auto difference, find_decode_difference(launcher));
  if (difference) return difference;
  return find_prompt_difference(launcher);
}

}  // namespace dsl::cuda
