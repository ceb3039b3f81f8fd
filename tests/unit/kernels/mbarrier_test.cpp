// Barriers of shared memory on the emulated device: warps that wait give way to those that arrive.
#include "engine/kernels/cuda/mbarrier.cuh"

#include <memory>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/mma.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr int kSlots = 2;
constexpr int kRounds = 7;
constexpr int kThreads = 4 * 32;  // the first warp's copy, the others' add up
constexpr int kRoundInts = 32 * 4;
constexpr int kConsumers = kThreads - 32;

enum class Flaw { kNone, kTooFewArrive, kNotInitialised, kOverruns };

/// out: a sum over the rounds for each of the `in` of a round, [in, consumers].
void sum_rounds(const int* in, int* out, Flaw flaw) {
  cuda::take_turn();
  auto* const full = reinterpret_cast<cuda::Mbarrier*>(cuda::shared_bytes);
  auto* const empty = full + kSlots;
  int* const slots = reinterpret_cast<int*>(empty + kSlots);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0 && flaw != Flaw::kNotInitialised) {
    for (int i = 0; i < kSlots; ++i) {
      full[i].init(1);
      empty[i].init(kConsumers);
    }
  }
  __syncthreads();
  if (thread < 32) {
    for (unsigned round = 0; round < kRounds; ++round) {
      const unsigned slot = round % kSlots;
      if (flaw != Flaw::kOverruns) empty[slot].wait(round / kSlots - 1);
      cuda::copy_async(slots + slot * kRoundInts + thread * 4, in + round * kRoundInts + thread * 4,
                       16);
      cuda::commit_copies();
      cuda::wait_for_copies<0>();
      __syncwarp();
      if (thread == 0) full[slot].arrive();
    }
    return;
  }
  const int consumer = thread - 32;
  int sum = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    const unsigned slot = round % kSlots;
    full[slot].wait(round / kSlots);
    for (int i = 0; i < kRoundInts; ++i) sum += slots[slot * kRoundInts + i] * (i + consumer);
    if (flaw != Flaw::kTooFewArrive || consumer != 5) empty[slot].arrive();
  }
  out[consumer] = sum;
}

std::vector<int> sums_of(const std::vector<int>& in, Flaw flaw) {
  auto stream = cuda::Stream::open(0);
  DSL_CHECK(stream.has_value(), "{}", stream.error().to_string());
  cuda::Launcher launcher(std::make_shared<const cuda::Stream>(std::move(*stream)));
  std::vector<int> out(kConsumers);
  launcher.run(
      {.grid = dim3(1),
       .block = dim3(kThreads),
       .shared_bytes = 2 * kSlots * sizeof(cuda::Mbarrier) + kSlots * kRoundInts * sizeof(int)},
      sum_rounds, in.data(), out.data(), flaw);
  EXPECT_TRUE(launcher.finish().has_value());
  return out;
}

std::vector<int> round_inputs() {
  std::vector<int> in(kRounds * kRoundInts);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i * i % 101);
  return in;
}

TEST(EmulatedMbarrier, WarpsFillAndEmptySlotsInTurn) {
  const std::vector<int> in = round_inputs();
  std::vector<int> expected(kConsumers);
  for (std::size_t consumer = 0; consumer < kConsumers; ++consumer) {
    for (std::size_t i = 0; i < in.size(); ++i)
      expected[consumer] += in[i] * static_cast<int>(i % kRoundInts + consumer);
  }
  EXPECT_EQ(sums_of(in, Flaw::kNone), expected);
}

TEST(EmulatedMbarrierDeathTest, FindsWhatWouldHang) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::vector<int> in = round_inputs();
  EXPECT_DEATH(sums_of(in, Flaw::kTooFewArrive), "wait for others, some for a phase");
  EXPECT_DEATH(sums_of(in, Flaw::kNotInitialised), "it was not initialised");
  EXPECT_DEATH(sums_of(in, Flaw::kOverruns), "and the next has ended too");
}

}  // namespace
}  // namespace dsl::test
