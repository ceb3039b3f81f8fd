#include "tests/unit/kernels/device_copies.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "engine/kernels/latent_layout.h"

namespace dsl::test {
namespace {

/// What the device's allocations are aligned to.
constexpr std::size_t kAlignment = 256;
/// What an allocation has behind what it is for. There stores are found; without it, reads too are,
/// by a device that faults there.
#ifdef DSL_FAULTS_BEHIND_ALLOCATIONS
constexpr std::size_t kBytesBehind = 0;
#else
constexpr std::size_t kBytesBehind = kAlignment;
#endif
/// NaN in every floating-point type.
constexpr std::byte kPoison{0xff};

/// Elements from the first of row 0 to the last of the last row.
std::size_t extent(std::int64_t rows, std::int64_t cols, std::int64_t row_stride) {
  return rows == 0 || cols == 0 ? 0 : static_cast<std::size_t>((rows - 1) * row_stride + cols);
}

std::size_t scale_extent(const WeightView& weight) {
  const BlockScales& scales = weight.scales;
  const auto last = [](std::int64_t first, std::int64_t count, std::int64_t block) {
    return (first + count - 1) / block;
  };
  return static_cast<std::size_t>(
      last(scales.first_row, weight.out_features, scales.block_rows) * scales.row_stride +
      last(scales.first_col, weight.in_features, scales.block_cols) + 1);
}

void require(const Status& status) {
  DSL_CHECK(status.has_value(), "{}", status.error().to_string());
}

}  // namespace

template <typename T>
void DeviceCopies::add_range(T*& pointer, std::size_t bytes, bool is_written) {
  if (pointer == nullptr || bytes == 0) return;
  auto* begin = static_cast<std::byte*>(const_cast<void*>(static_cast<const void*>(pointer)));
  const auto point_to = [&pointer](std::byte* to) {
    pointer = static_cast<T*>(static_cast<void*>(to));
  };
  ranges_.push_back({begin, begin + bytes, is_written, point_to});
}

void DeviceCopies::read(WeightView& weight) {
  const std::size_t count = extent(weight.out_features, weight.in_features, weight.row_stride);
  add_range(weight.data, count * size_of(weight.dtype), false);
  if (weight.dtype != DType::kF8E4M3 || count == 0) return;
  add_range(weight.scales.data, scale_extent(weight) * size_of(weight.scales.dtype), false);
}

void DeviceCopies::read(VectorView& vector) {
  add_range(vector.data, static_cast<std::size_t>(vector.size) * size_of(vector.dtype), false);
}

void DeviceCopies::read(MatrixView<const float>& matrix) {
  add_range(matrix.data, extent(matrix.rows, matrix.cols, matrix.row_stride) * sizeof(float),
            false);
}

void DeviceCopies::read(RopeTable& table) {
  const auto count = static_cast<std::size_t>(table.max_positions * table.rope_dim / 2);
  add_range(table.cos, count * sizeof(float), false);
  add_range(table.sin, count * sizeof(float), false);
}

void DeviceCopies::write(MatrixView<float>& matrix) {
  add_range(matrix.data, extent(matrix.rows, matrix.cols, matrix.row_stride) * sizeof(float), true);
}

void DeviceCopies::add(Matrix& matrix, bool is_written) {
  add_range(matrix.data,
            extent(matrix.rows, matrix.cols, matrix.row_stride) * size_of(matrix.dtype),
            is_written);
}

void DeviceCopies::add(LatentCache& cache, bool is_written) {
  const std::int64_t rows = cache.num_blocks * cache.block_tokens;
  add_range(cache.data, static_cast<std::size_t>(rows * latent_layout(cache).row_bytes),
            is_written);
}

void DeviceCopies::add(LeafSums& sums, bool is_written) {
  const std::int64_t count = sums.num_leaves * sums.rows * sums.cols;
  add_range(sums.data, static_cast<std::size_t>(count) * sizeof(float), is_written);
}

void DeviceCopies::add(Routing& routing, bool is_written) {
  const auto count = static_cast<std::size_t>(routing.rows * routing.num_experts_per_tok);
  add_range(routing.expert_ids, count * sizeof(std::int32_t), is_written);
  add_range(routing.weights, count * sizeof(float), is_written);
}

std::vector<DeviceCopies::Place> DeviceCopies::place() {
  std::sort(ranges_.begin(), ranges_.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Place> places;
  for (const Range& range : ranges_) {
    if (!places.empty() && range.begin < places.back().end) {
      places.back().end = std::max(places.back().end, range.end);
    } else {
      places.push_back({.begin = range.begin, .end = range.end, .buffer = {}, .bytes = {}});
    }
  }
  return places;
}

void DeviceCopies::copy_to_device(Place& place) {
  const std::size_t before = reinterpret_cast<std::uintptr_t>(place.begin) % kAlignment;
  const std::size_t size = static_cast<std::size_t>(place.end - place.begin);
  place.offset = static_cast<std::ptrdiff_t>(before);
  place.bytes.assign(before + size + kBytesBehind, kPoison);
  std::copy(place.begin, place.end, place.bytes.begin() + place.offset);
  auto buffer = Buffer::allocate(memory_, place.bytes.size(), "an argument of an op");
  DSL_CHECK(buffer.has_value(), "{}", buffer.error().to_string());
  place.buffer = std::move(*buffer);
  require(memory_.write(place.buffer.data(), place.bytes.data(), place.bytes.size()));
}

void DeviceCopies::copy_back(Place& place) {
  std::vector<std::byte> after(place.bytes.size());
  require(memory_.read(after.data(), place.buffer.data(), after.size()));
  for (const Range& range : ranges_) {
    if (!range.is_written || range.begin < place.begin || range.begin >= place.end) continue;
    const auto first = place.offset + (range.begin - place.begin);
    const auto size = range.end - range.begin;
    std::copy_n(after.begin() + first, size, range.begin);
    std::copy_n(after.begin() + first, size, place.bytes.begin() + first);
  }
  DSL_CHECK(place.bytes == after, "an op wrote to memory of the device that is no output of it");
}

void DeviceCopies::run(Ops& ops, const std::function<void()>& call) {
  std::vector<Place> places = place();
  for (Place& place : places) copy_to_device(place);
  for (const Range& range : ranges_) {
    const auto own = std::prev(
        std::upper_bound(places.begin(), places.end(), range.begin,
                         [](const std::byte* at, const Place& each) { return at < each.begin; }));
    range.point_to(own->buffer.as<std::byte>() + own->offset + (range.begin - own->begin));
  }
  call();
  require(ops.finish());
  for (Place& place : places) copy_back(place);
}

}  // namespace dsl::test
