// Steps on a device that does not record them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/step_graphs.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr std::int64_t kTableRows = 4;
constexpr std::int64_t kTableCols = 16;
constexpr std::size_t kRowBytes = kTableCols * sizeof(float);

/// A device whose steps look up one row of a table.
class LookUps {
 public:
  LookUps()
      : device_(cuda::open_cuda_device(0).value()),
        table_(Buffer::allocate(*device_.memory, kTableRows * kRowBytes, "test").value()),
        out_(Buffer::allocate(*device_.memory, kRowBytes, "test").value()) {
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = static_cast<float>(i);
    EXPECT_TRUE(
        device_.memory->write(table_.data(), values_.data(), kTableRows * kRowBytes).has_value());
  }

  void expect_row(std::int32_t id) {
    const std::vector<std::int32_t> ids{id};
    const std::vector<std::int64_t> slots{0};
    const auto work = [&]() -> Status {
      ++num_calls_;
      device_.ops->embed(ids, {table_.data(), DType::kF32, kTableRows, kTableCols, kTableCols, {}},
                         0, {out_.data(), DType::kF32, 1, kTableCols, kTableCols});
      return {};
    };
    const Status ran = device_.ops->run_step({ids, slots, {}}, work);
    EXPECT_TRUE(ran.has_value()) << ran.error().to_string();
    const Status finished = device_.ops->finish();
    EXPECT_TRUE(finished.has_value()) << finished.error().to_string();
    std::vector<float> found(kTableCols);
    EXPECT_TRUE(device_.memory->read(found.data(), out_.data(), kRowBytes).has_value());
    EXPECT_EQ(found.front(), values_[static_cast<std::size_t>(id * kTableCols)]);
  }
  int num_calls() const { return num_calls_; }
  std::int64_t num_repeated() const { return device_.ops->step_counts().repeated; }

 private:
  Device device_;
  Buffer table_;
  Buffer out_;
  std::vector<float> values_ = std::vector<float>(kTableRows * kTableCols);
  int num_calls_ = 0;
};

TEST(CudaRecording, StepsAreCalledWhereTheEnvironmentSaysSo) {
  ASSERT_EQ(::setenv(cuda::kStepGraphsVariable, "off", 1), 0);
  LookUps calling;
  ASSERT_EQ(::unsetenv(cuda::kStepGraphsVariable), 0);
  LookUps repeating;
  for (int i = 0; i < 4; ++i) {
    calling.expect_row(2);
    repeating.expect_row(2);
  }
  EXPECT_EQ(calling.num_calls(), 4);
  EXPECT_EQ(calling.num_repeated(), 0);
  EXPECT_EQ(repeating.num_calls(), 2);
  EXPECT_EQ(repeating.num_repeated(), 3);
}

TEST(CudaRecording, StepsAreCalledWhereNoRecordingCanBePrepared) {
  fail_emulated_recordings(true);
  LookUps look_ups;
  look_ups.expect_row(1);
  EXPECT_EQ(look_ups.num_calls(), 1);
  look_ups.expect_row(1);
  EXPECT_EQ(look_ups.num_calls(), 3) << "recorded in vain, and called";
  fail_emulated_recordings(false);
  look_ups.expect_row(1);
  look_ups.expect_row(1);
  EXPECT_EQ(look_ups.num_calls(), 5) << "for good";
  EXPECT_EQ(look_ups.num_repeated(), 0);
}

/// An array that changes is copied from the host, which the emulated device does not record: the
/// launch that fails must not end the step that is called.
TEST(CudaRecording, StepsAreCalledWhereARecordingBreaks) {
  LookUps look_ups;
  for (const std::int32_t id : {1, 2, 3, 0}) look_ups.expect_row(id);
  EXPECT_EQ(look_ups.num_calls(), 5);
  EXPECT_EQ(look_ups.num_repeated(), 0);
}

}  // namespace
}  // namespace dsl::test
