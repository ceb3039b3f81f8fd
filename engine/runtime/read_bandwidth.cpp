#include "engine/runtime/read_bandwidth.h"

#include <array>
#include <chrono>
#include <cstring>
#include <new>

#include "engine/runtime/aligned_buffer.h"

namespace dsl {
namespace {

constexpr std::int64_t kBytes = std::int64_t{512} << 20;
constexpr int kPasses = 7;
constexpr std::int64_t kPage = 4096;

/// Eight independent sums, so that loads and not additions are the limit.
std::uint64_t sum_of(const std::byte* data, std::int64_t size) {
  using Word = std::uint64_t __attribute__((vector_size(16)));
  constexpr std::int64_t kStep = 8 * static_cast<std::int64_t>(sizeof(Word));
  std::array<Word, 8> sums{};
  for (std::int64_t offset = 0; offset < size; offset += kStep) {
    const auto* words = reinterpret_cast<const Word*>(data + offset);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += words[i];
  }
  std::uint64_t total = 0;
  for (const Word& sum : sums) total += sum[0] + sum[1];
  return total;
}

}  // namespace

Result<double> measure_read_bandwidth(ThreadPool& pool) try {
  const AlignedBuffer buffer(kBytes);
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(pool.size()));
  pool.parallel_for(kBytes, kPage, [&](std::int64_t first, std::int64_t last) {
    std::memset(buffer.data() + first, 1, static_cast<std::size_t>(last - first));
  });
  std::array<double, kPasses> seconds{};
  for (double& elapsed : seconds) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](int thread) {
      const ThreadPool::Range range = ThreadPool::part(kBytes, kPage, thread, pool.size());
      sums[static_cast<std::size_t>(thread)] =
          sum_of(buffer.data() + range.first, range.last - range.first);
    });
    elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  DSL_CHECK(total == std::uint64_t{kBytes} / 8 * 0x0101010101010101u, "sum {}", total);
  std::nth_element(seconds.begin(), seconds.begin() + kPasses / 2, seconds.end());
  return static_cast<double>(kBytes) / seconds[kPasses / 2];
} catch (const std::bad_alloc&) {
  return fail(ErrorCode::kOutOfMemory, "free memory or skip the measurement",
              "measuring read bandwidth: expected {} bytes of free memory", kBytes);
}

}  // namespace dsl
