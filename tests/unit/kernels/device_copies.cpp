#include "tests/unit/kernels/device_copies.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "engine/kernels/latent_layout.h"

namespace dsl::test {
namespace {

/// What the device's allocations are aligned to.
constexpr std::size_t kAlignment = 256;
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

std::byte* DeviceArena::reserve(std::size_t bytes) {
  if (bytes > buffer_.bytes()) {
    buffer_ = Buffer();
    auto grown = Buffer::allocate(memory_, 2 * bytes, "arguments of an op");
    DSL_CHECK(grown.has_value(), "{}", grown.error().to_string());
    buffer_ = std::move(*grown);
  }
  return buffer_.as<std::byte>();
}

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
      places.push_back({range.begin, range.end, 0});
    }
  }
  std::size_t next = 0;
  for (Place& place : places) {
    place.offset = next + reinterpret_cast<std::uintptr_t>(place.begin) % kAlignment;
    const std::size_t end = place.offset + static_cast<std::size_t>(place.end - place.begin);
    next = (end / kAlignment + 1) * kAlignment;
  }
  return places;
}

void DeviceCopies::run(Ops& ops, const std::function<void()>& call) {
  const std::vector<Place> places = place();
  const auto place_of = [&](const Range& range) {
    return std::prev(
        std::upper_bound(places.begin(), places.end(), range.begin,
                         [](const std::byte* at, const Place& place) { return at < place.begin; }));
  };
  std::size_t bytes = kAlignment;
  for (const Place& place : places) {
    bytes = std::max(bytes, place.offset + static_cast<std::size_t>(place.end - place.begin));
  }
  std::vector<std::byte> before(bytes, kPoison);
  for (const Place& place : places) {
    std::copy(place.begin, place.end, before.begin() + static_cast<std::ptrdiff_t>(place.offset));
  }
  std::byte* const device = arena_.reserve(bytes);
  require(arena_.memory().write(device, before.data(), bytes));
  for (const Range& range : ranges_) {
    const auto place = place_of(range);
    range.point_to(device + place->offset + (range.begin - place->begin));
  }
  call();
  require(ops.finish());
  std::vector<std::byte> after(bytes);
  require(arena_.memory().read(after.data(), device, bytes));
  for (const Range& range : ranges_) {
    if (!range.is_written) continue;
    const auto place = place_of(range);
    const auto first = static_cast<std::ptrdiff_t>(place->offset) + (range.begin - place->begin);
    const auto size = range.end - range.begin;
    std::copy_n(after.begin() + first, size, range.begin);
    std::copy_n(after.begin() + first, size, before.begin() + first);
  }
  DSL_CHECK(before == after, "an op wrote to memory of the device that is no output of it");
}

}  // namespace dsl::test
