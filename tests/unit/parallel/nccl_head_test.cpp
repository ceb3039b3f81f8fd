// Logits of a split vocabulary that are gathered over the emulated NCCL, and tokens chosen of them.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/parallel/linear.h"
#include "engine/sampling/sampler.h"
#include "tests/unit/parallel/shard_threads.h"

namespace dsl::parallel {
namespace {

constexpr std::int64_t kHidden = 16;
constexpr std::int64_t kVocab = 96;
constexpr std::int64_t kMaxLogitsRows = 5;

struct HeadOutput {
  std::vector<float> logits;              // [rows, kVocab]; none on shards other than 0
  std::vector<std::int32_t> token_ids;    // chosen on the device
  std::vector<std::int32_t> on_the_host;  // the same by the host's sampler
};

/// A batch of `rows` rows, each sampled in another way.
Result<HeadOutput> run_head(collectives::Collectives* group, std::int64_t rows) {
  TensorPath path;
  DSL_ASSIGN(Device device, cuda::open_cuda_device(group == nullptr ? 0 : group->rank()));
  if (group != nullptr) {
    DSL_ASSIGN(path, open_tensor_path(device.network.get(), kVocab, *group));
  }
  Memory& memory = *device.memory;
  const TensorParallel tp(group, std::chrono::seconds(60), memory, path.devices.get());
  const auto weight_values = values_of(7, kVocab * kHidden);
  const auto x_values = values_of(8, static_cast<std::size_t>(rows * kHidden));
  const std::span<const float> weight_span(weight_values);
  DSL_ASSIGN(const Buffer weight, Buffer::allocate(memory, weight_span.size_bytes(), "test"));
  DSL_TRY(memory.write(weight.data(), weight_values.data(), weight_span.size_bytes()));
  const std::size_t x_bytes = x_values.size() * sizeof(float);
  DSL_ASSIGN(const Buffer x, Buffer::allocate(memory, x_bytes, "test"));
  DSL_TRY(memory.write(x.data(), x_values.data(), x_bytes));

  const VocabParallelHead head({weight.data(), DType::kF32, kVocab, kHidden, kHidden, {}}, tp);
  const std::int64_t before = memory.allocated_bytes();
  DSL_ASSIGN(const auto scratch, head.make_scratch(memory, tp, kMaxLogitsRows));
  DSL_TRY(expect(memory.allocated_bytes() - before == head.device_scratch_bytes(tp, kMaxLogitsRows),
                 "the scratch that is planned"));
  DSL_ASSIGN(const MatrixView<float> logits,
             head.forward(*device.ops, memory, tp, {x.data(), DType::kF32, rows, kHidden, kHidden},
                          scratch, {}));
  HeadOutput output;
  if (tp.shard() != 0) {
    DSL_TRY(expect(logits.rows == 0, "no logits"));
    DSL_TRY(device.ops->finish());
    return output;
  }
  DSL_TRY(expect(logits.rows == rows && logits.cols == kVocab, "all logits"));
  output.logits.resize(static_cast<std::size_t>(rows * kVocab));
  DSL_TRY(memory.read(output.logits.data(), logits.data, output.logits.size() * sizeof(float)));

  std::vector<TokenChoice> choices;
  for (std::int64_t row = 0; row < rows; ++row) {
    TokenChoice choice;
    choice.temperature = static_cast<float>(100 * row);
    choice.top_p = row % 2 == 0 ? 1.0f : 0.8f;
    choice.top_k = row == 3 ? 10 : 0;
    choice.seed = static_cast<std::uint64_t>(row) + 1;
    choice.position = row;
    choices.push_back(choice);
    sampling::SamplingParams params;
    params.temperature = choice.temperature;
    params.top_p = choice.top_p;
    params.top_k = choice.top_k;
    params.seed = choice.seed;
    const auto begin = output.logits.begin() + row * kVocab;
    std::vector<float> on_host(begin, begin + kVocab);
    DSL_ASSIGN(const auto token, sampling::sample(on_host, params, {}, {}, row));
    output.on_the_host.push_back(token.token_id);
  }
  DSL_ASSIGN(const auto chosen,
             device.chooser->choose({logits.data, rows, kVocab, logits.row_stride}, choices));
  for (const ChosenToken& token : chosen) output.token_ids.push_back(token.token.token_id);
  return output;
}

class NcclHeadTest : public ::testing::TestWithParam<int> {};

TEST_P(NcclHeadTest, TokensAreThoseOfOneDeviceAndOfTheHost) {
  for (const std::int64_t rows : {1, 2, 5}) {
    SCOPED_TRACE(fmt::format("{} rows", rows));
    HeadOutput alone;
    const auto run_alone = [&](collectives::Collectives&) -> Status {
      DSL_ASSIGN(alone, run_head(nullptr, rows));
      return {};
    };
    ASSERT_TRUE(run_shards(1, run_alone)[0].has_value());
    const auto work = [&](collectives::Collectives& group) -> Status {
      DSL_ASSIGN(const HeadOutput found, run_head(&group, rows));
      if (group.rank() != 0) return {};
      DSL_TRY(expect(std::memcmp(found.logits.data(), alone.logits.data(),
                                 alone.logits.size() * sizeof(float)) == 0,
                     "the logits of one device"));
      DSL_TRY(expect(found.token_ids == alone.token_ids, "the tokens of one device"));
      return expect(found.token_ids == found.on_the_host, "the tokens of the host's sampler");
    };
    for (const Status& outcome : run_shards(GetParam(), work)) {
      EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, NcclHeadTest, ::testing::Values(2, 4, 8),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace dsl::parallel
