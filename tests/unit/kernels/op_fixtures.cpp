#include "tests/unit/kernels/op_fixtures.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/kernels/latent_layout.h"
#include "engine/kernels/ref/elements.h"

namespace dsl::test {
namespace {

void put(std::byte* data, DType dtype, std::int64_t index, float value) {
  switch (dtype) {
    case DType::kF32:
      reinterpret_cast<float*>(data)[index] = value;
      break;
    case DType::kBF16:
      reinterpret_cast<BFloat16*>(data)[index] = to_bfloat16(value);
      break;
    case DType::kF16:
      reinterpret_cast<Float16*>(data)[index] = to_float16(value);
      break;
    case DType::kF8E4M3:
      reinterpret_cast<Float8E4M3*>(data)[index] = to_float8_e4m3(value);
      break;
    default:
      DSL_CHECK(false, "no test tensors of {}", name_of(dtype));
  }
}

}  // namespace

std::int64_t pick(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

TestMatrix::TestMatrix(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t padding)
    : data_(static_cast<std::size_t>(rows * (cols + padding)) * size_of(dtype)),
      view_{data_.data(), dtype, rows, cols, cols + padding} {
  for (std::int64_t i = 0; i < rows * (cols + padding); ++i) {
    put(data_.data(), dtype, i, std::numeric_limits<float>::quiet_NaN());
  }
}

TestMatrix TestMatrix::random(Random& random, DType dtype, std::int64_t rows, std::int64_t cols,
                              float deviation, std::int64_t padding) {
  TestMatrix matrix(dtype, rows, cols, padding);
  std::normal_distribution<float> normal(0, deviation);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t col = 0; col < cols; ++col) matrix.set(row, col, normal(random));
  }
  return matrix;
}

float TestMatrix::at(std::int64_t row, std::int64_t col) const {
  float value = 0;
  ref::decode(view_.data, view_.dtype, row * view_.row_stride + col, 1, &value);
  return value;
}

void TestMatrix::set(std::int64_t row, std::int64_t col, float value) {
  put(data_.data(), view_.dtype, row * view_.row_stride + col, value);
}

std::string TestMatrix::row_bits(std::int64_t row) const {
  const std::size_t size = size_of(view_.dtype);
  const std::byte* begin = data_.data() + static_cast<std::size_t>(row * view_.row_stride) * size;
  return {reinterpret_cast<const char*>(begin), static_cast<std::size_t>(view_.cols) * size};
}

std::string TestMatrix::bits() const {
  std::string all;
  for (std::int64_t row = 0; row < view_.rows; ++row) all += row_bits(row);
  return all;
}

bool TestMatrix::padding_untouched() const {
  for (std::int64_t row = 0; row < view_.rows; ++row) {
    for (std::int64_t col = view_.cols; col < view_.row_stride; ++col) {
      if (!std::isnan(at(row, col))) return false;
    }
  }
  return true;
}

TestMatrix TestMatrix::clone() const {
  TestMatrix copy(view_.dtype, view_.rows, view_.cols, view_.row_stride - view_.cols);
  std::copy(data_.begin(), data_.end(), copy.data_.begin());
  return copy;
}

std::string name_of(const WeightKind& kind) {
  return std::string(name_of(kind.dtype)) + (kind.quantised_inputs ? " with quantised inputs" : "");
}

TestWeight TestWeight::random(Random& random, const WeightKind& kind, const Shape& wanted) {
  TestWeight weight;
  const DType dtype = kind.dtype;
  Shape shape = wanted;
  if (kind.quantised_inputs) shape.block = 128;
  const std::int64_t stride = shape.in_features + shape.padding;
  weight.data_.resize(static_cast<std::size_t>(shape.out_features * stride) * size_of(dtype));
  // FP8 weights use the whole range of codes, subnormals included; their scales bring them back to
  // size.
  std::normal_distribution<float> normal(0, dtype == DType::kF8E4M3 ? 30.0f : 0.05f);
  for (std::int64_t i = 0; i < shape.out_features * stride; ++i) {
    const float spread = i % 7 == 0 ? 1e-3f : 1.0f;
    put(weight.data_.data(), dtype, i, normal(random) * spread);
  }
  weight.view_ = {weight.data_.data(),  dtype, shape.out_features, shape.in_features, stride, {},
                  kind.quantised_inputs};
  if (dtype != DType::kF8E4M3) return weight;
  const std::int64_t rows = (shape.first_row + shape.out_features + shape.block - 1) / shape.block;
  const std::int64_t cols = (shape.first_col + shape.in_features + shape.block - 1) / shape.block;
  const bool e8m0 = shape.scale_kind == ScaleKind::kE8M0;
  weight.scales_.resize(static_cast<std::size_t>(rows * cols) * (e8m0 ? 1 : 4));
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    if (e8m0) {
      weight.scales_[static_cast<std::size_t>(i)] = static_cast<std::byte>(pick(random, 116, 119));
    } else {
      const float scale = std::uniform_real_distribution<float>(5e-4f, 4e-3f)(random);
      std::memcpy(weight.scales_.data() + 4 * i, &scale, 4);
    }
  }
  weight.view_.scales = {weight.scales_.data(),
                         e8m0 ? DType::kF8E8M0 : DType::kF32,
                         cols,
                         shape.block,
                         shape.block,
                         shape.first_row,
                         shape.first_col};
  return weight;
}

float TestWeight::row_norm(std::int64_t row) const {
  std::vector<float> values(static_cast<std::size_t>(view_.in_features));
  ref::decode_row(view_, row, values.data());
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0f));
}

TestVector TestVector::random(Random& random, DType dtype, std::int64_t size) {
  TestVector vector;
  vector.bytes_.resize(static_cast<std::size_t>(size) * size_of(dtype));
  std::normal_distribution<float> normal(1.0f, 0.5f);
  for (std::int64_t i = 0; i < size; ++i) put(vector.bytes_.data(), dtype, i, normal(random));
  vector.view_ = {vector.bytes_.data(), dtype, size};
  return vector;
}

double dot_tolerance(std::int64_t size, double norm_x, double norm_w, DType out, double value) {
  const double epsilon = std::ldexp(1.0, -24);
  // Roundings add up like a random walk; 4 standard deviations, both sides of the comparison.
  const double sum = 8 * epsilon * std::sqrt(static_cast<double>(size) + 4) * norm_x * norm_w;
  const double rounding = out == DType::kBF16 ? std::ldexp(1.0, -7) * std::abs(value) : 0;
  return sum + rounding;
}

double fp8_product_tolerance(double norm_x, double norm_w) {
  return 4 * std::ldexp(1.0, -13) * norm_x * norm_w;
}

double row_norm(const TestMatrix& matrix, std::int64_t row) {
  double sum = 0;
  for (std::int64_t col = 0; col < matrix.view().cols; ++col) {
    sum += static_cast<double>(matrix.at(row, col)) * matrix.at(row, col);
  }
  return std::sqrt(sum);
}

std::unique_ptr<ThreadPool> make_pool(int num_threads) {
  auto pool = ThreadPool::create({.num_threads = num_threads});
  DSL_CHECK(pool.has_value(), "{}", pool.error().to_string());
  return std::move(*pool);
}

OpsLimits smallest_limits() {
  OpsLimits limits;
  limits.max_rows = 1;
  limits.max_positions = 1;
  limits.attention = {.num_heads = 1,
                      .qk_nope_head_dim = 16,
                      .qk_rope_head_dim = 16,
                      .v_head_dim = 16,
                      .kv_lora_rank = 16,
                      .softmax_scale = 1};
  return limits;
}

std::string variant_name(const testing::TestParamInfo<std::string_view>& info) {
  return std::string(info.param);
}

TestCache TestCache::quantised() const {
  TestCache result;
  result.block_table = block_table;
  result.view = view;
  result.view.dtype = DType::kF8E4M3;
  const std::int64_t row_bytes = latent_layout(result.view).row_bytes;
  const std::int64_t num_rows = view.num_blocks * view.block_tokens;
  result.data = TestMatrix(DType::kBF16, num_rows, row_bytes / 2, 0);
  result.view.data = result.data.view().data;
  const std::int64_t width = view.kv_lora_rank + view.rope_dim;
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const BFloat16* from = static_cast<const BFloat16*>(view.data) + row * width;
    encode_latent_row(result.view, from, from + view.kv_lora_rank,
                      static_cast<std::byte*>(result.view.data) + row * row_bytes);
  }
  return result;
}

TestCache TestCache::rounded() const {
  const TestCache codes = quantised();
  TestCache result;
  result.block_table = block_table;
  result.view = view;
  result.data = data.clone();
  result.view.data = result.data.view().data;
  const std::int64_t row_bytes = latent_layout(codes.view).row_bytes;
  const std::int64_t width = view.kv_lora_rank + view.rope_dim;
  for (std::int64_t row = 0; row < view.num_blocks * view.block_tokens; ++row) {
    decode_latent_row(codes.view, static_cast<const std::byte*>(codes.view.data) + row * row_bytes,
                      static_cast<BFloat16*>(result.view.data) + row * width);
  }
  return result;
}

TestCache TestCache::random(Random& random, DType dtype, std::int64_t num_positions,
                            std::int64_t block_tokens, std::int64_t rank, std::int64_t rope_dim) {
  TestCache cache;
  const std::int64_t used = (num_positions + block_tokens - 1) / block_tokens;
  const std::int64_t num_blocks = used + 3;
  cache.data =
      TestMatrix::random(random, dtype, num_blocks * block_tokens, rank + rope_dim, 1.0f, 0);
  cache.view = {cache.data.view().data, dtype, num_blocks, block_tokens, rank, rope_dim};
  cache.block_table.resize(static_cast<std::size_t>(num_blocks));
  std::iota(cache.block_table.begin(), cache.block_table.end(), 0);
  std::shuffle(cache.block_table.begin(), cache.block_table.end(), random);
  cache.block_table.resize(static_cast<std::size_t>(used));
  // Rows that belong to no position are poison: attention must not read them.
  const auto poison = [&](std::int64_t slot) {
    for (std::int64_t col = 0; col < rank + rope_dim; ++col) {
      cache.data.set(slot, col, std::numeric_limits<float>::quiet_NaN());
    }
  };
  for (std::int64_t block = 0; block < num_blocks; ++block) {
    const auto found = std::find(cache.block_table.begin(), cache.block_table.end(), block);
    for (std::int64_t i = 0; i < block_tokens; ++i) {
      const std::int64_t position = (found - cache.block_table.begin()) * block_tokens + i;
      if (found == cache.block_table.end() || position >= num_positions) {
        poison(block * block_tokens + i);
      }
    }
  }
  return cache;
}

}  // namespace dsl::test
