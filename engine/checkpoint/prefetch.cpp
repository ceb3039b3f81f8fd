// Faulting in the pages of a shard.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/checkpoint/checkpoint.h"

namespace dsl::checkpoint {
namespace {

/// Page-aligned addresses [begin, end).
struct PageRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
};

/// Between two progress reports; also how far the disk runs ahead of the page tables.
constexpr std::uintptr_t kChunkBytes = 64u << 20;

class PageRanges {
 public:
  PageRanges() : page_(static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE))) {}

  void add(const void* data, std::int64_t bytes) {
    if (bytes <= 0) return;
    const auto first = reinterpret_cast<std::uintptr_t>(data);
    ranges_.push_back({first / page_ * page_,
                       (first + static_cast<std::uintptr_t>(bytes) + page_ - 1) / page_ * page_});
  }

  void add(const WeightView& weight) {
    const auto element = static_cast<std::int64_t>(size_of(weight.dtype));
    const auto* data = static_cast<const std::byte*>(weight.data);
    if (weight.row_stride == weight.in_features) {
      add(data, weight.out_features * weight.in_features * element);
    } else {
      for (std::int64_t row = 0; row < weight.out_features; ++row) {
        add(data + row * weight.row_stride * element, weight.in_features * element);
      }
    }
    if (weight.dtype != DType::kF8E4M3) return;
    const BlockScales& scales = weight.scales;
    const std::int64_t rows =
        (scales.first_row + weight.out_features + scales.block_rows - 1) / scales.block_rows;
    add(scales.data, rows * scales.row_stride * static_cast<std::int64_t>(size_of(scales.dtype)));
  }

  /// Sorted, without overlaps, at most kChunkBytes each.
  std::vector<PageRange> chunks() && {
    std::sort(ranges_.begin(), ranges_.end(),
              [](const PageRange& a, const PageRange& b) { return a.begin < b.begin; });
    std::vector<PageRange> merged;
    for (const PageRange& range : ranges_) {
      if (!merged.empty() && range.begin <= merged.back().end) {
        merged.back().end = std::max(merged.back().end, range.end);
      } else {
        merged.push_back(range);
      }
    }
    std::vector<PageRange> chunks;
    for (PageRange range : merged) {
      for (; range.begin < range.end; range.begin += kChunkBytes) {
        chunks.push_back({range.begin, std::min(range.end, range.begin + kChunkBytes)});
      }
    }
    return chunks;
  }

  std::uintptr_t page() const { return page_; }

 private:
  std::uintptr_t page_;
  std::vector<PageRange> ranges_;
};

void advise_soon(const PageRange& range) {
  // Only a hint: where it is refused, the populating read below still does the work.
  (void)::madvise(reinterpret_cast<void*>(range.begin), range.end - range.begin, MADV_WILLNEED);
}

Status populate(const PageRange& range, std::uintptr_t page) {
  while (::madvise(reinterpret_cast<void*>(range.begin), range.end - range.begin,
                   MADV_POPULATE_READ) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno == EINVAL) {  // a kernel before 5.14: touch each page instead
      for (std::uintptr_t at = range.begin; at < range.end; at += page) {
        (void)*reinterpret_cast<const volatile std::byte*>(at);
      }
      return {};
    }
    return fail(ErrorCode::kIo, "check the disk and that no other program changes the weight files",
                "reading {} bytes of weights failed: {}", range.end - range.begin,
                std::strerror(errno));
  }
  return {};
}

}  // namespace

Status prefetch(std::span<const WeightView> weights, std::span<const VectorView> vectors,
                const PrefetchProgress& progress) {
  PageRanges ranges;
  for (const WeightView& weight : weights) ranges.add(weight);
  for (const VectorView& vector : vectors) {
    ranges.add(vector.data, vector.size * static_cast<std::int64_t>(size_of(vector.dtype)));
  }
  const std::uintptr_t page = ranges.page();
  const std::vector<PageRange> chunks = std::move(ranges).chunks();
  std::int64_t total = 0;
  for (const PageRange& chunk : chunks) total += static_cast<std::int64_t>(chunk.end - chunk.begin);

  std::int64_t done = 0;
  std::int64_t reported = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    if (i == 0) advise_soon(chunks[0]);
    if (i + 1 < chunks.size()) advise_soon(chunks[i + 1]);
    DSL_TRY(populate(chunks[i], page));
    done += static_cast<std::int64_t>(chunks[i].end - chunks[i].begin);
    if (progress && (done - reported >= static_cast<std::int64_t>(kChunkBytes) || done == total)) {
      progress(done, total);
      reported = done;
    }
  }
  return {};
}

}  // namespace dsl::checkpoint
