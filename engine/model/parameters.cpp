#include "engine/model/parameters.h"

#include <cstring>

namespace dsl::model {
namespace {

constexpr std::int64_t kParameterAlignment =
    256;  // of each parameter: what vector loads of any device ask for

/// Rows of bytes that lie `stride` apart on the host.
struct HostRows {
  const void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t row_bytes = 0;
  std::int64_t stride = 0;  // bytes

  std::int64_t bytes() const { return rows * row_bytes; }
  std::int64_t placed_bytes() const {
    return (bytes() + kParameterAlignment - 1) / kParameterAlignment * kParameterAlignment;
  }
};

HostRows rows_of(const WeightView& weight) {
  const auto element = static_cast<std::int64_t>(size_of(weight.dtype));
  return {weight.data, weight.out_features, weight.in_features * element,
          weight.row_stride * element};
}

HostRows scales_of(const WeightView& weight) {
  const BlockScales& scales = weight.scales;
  if (scales.data == nullptr) return {};
  const auto element = static_cast<std::int64_t>(size_of(scales.dtype));
  const auto blocks = [](std::int64_t first, std::int64_t count, std::int64_t block) {
    return (first + count + block - 1) / block;
  };
  return {scales.data, blocks(scales.first_row, weight.out_features, scales.block_rows),
          blocks(scales.first_col, weight.in_features, scales.block_cols) * element,
          scales.row_stride * element};
}

HostRows row_of(const VectorView& vector) {
  const std::int64_t bytes = vector.size * static_cast<std::int64_t>(size_of(vector.dtype));
  return {vector.data, 1, bytes, bytes};
}

/// Hands out places in one allocation and fills them.
class Placement {
 public:
  Placement(Memory& memory, std::byte* next) : memory_(memory), next_(next) {}

  Result<void*> place(const HostRows& from) {
    std::byte* const to = next_;
    next_ += from.placed_bytes();
    const auto bytes = static_cast<std::size_t>(from.bytes());
    if (from.stride == from.row_bytes) {
      DSL_TRY(memory_.write(to, from.data, bytes));
      return to;
    }
    packed_.resize(bytes);
    const auto row_bytes = static_cast<std::size_t>(from.row_bytes);
    for (std::int64_t row = 0; row < from.rows; ++row) {
      std::memcpy(packed_.data() + row * from.row_bytes,
                  static_cast<const std::byte*>(from.data) + row * from.stride, row_bytes);
    }
    DSL_TRY(memory_.write(to, packed_.data(), bytes));
    return to;
  }

 private:
  Memory& memory_;
  std::byte* next_;
  std::vector<std::byte> packed_;  // a shard of columns has gaps between its rows
};

}  // namespace

std::int64_t Parameters::weight_bytes() const {
  std::int64_t bytes = 0;
  for (const WeightView* weight : weights) bytes += weight->bytes();
  return bytes;
}

std::int64_t placed_bytes(const Parameters& parameters) {
  std::int64_t total = 0;
  for (const WeightView* weight : parameters.weights) {
    total += rows_of(*weight).placed_bytes() + scales_of(*weight).placed_bytes();
  }
  for (const VectorView* vector : parameters.vectors) total += row_of(*vector).placed_bytes();
  return total;
}

Result<Buffer> place_parameters(const Parameters& parameters, Memory& memory,
                                const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const std::int64_t total = placed_bytes(parameters);
  DSL_ASSIGN(Buffer buffer, Buffer::allocate(memory, static_cast<std::size_t>(total), "weights"));

  Placement placement(memory, buffer.as<std::byte>());
  const std::int64_t all_bytes = parameters.weight_bytes();
  std::int64_t done_bytes = 0;
  for (WeightView* weight : parameters.weights) {
    const HostRows scales = scales_of(*weight);
    DSL_ASSIGN(weight->data, placement.place(rows_of(*weight)));
    weight->row_stride = weight->in_features;
    if (scales.data != nullptr) {
      DSL_ASSIGN(weight->scales.data, placement.place(scales));
      weight->scales.row_stride =
          scales.row_bytes / static_cast<std::int64_t>(size_of(weight->scales.dtype));
    }
    done_bytes += weight->bytes();
    if (progress) progress(done_bytes, all_bytes);
  }
  for (VectorView* vector : parameters.vectors) {
    if (vector->size == 0) continue;
    DSL_ASSIGN(vector->data, placement.place(row_of(*vector)));
  }
  return buffer;
}

}  // namespace dsl::model
