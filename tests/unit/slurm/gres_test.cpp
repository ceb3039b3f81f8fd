#include "slurm/gres.h"

#include <gtest/gtest.h>

namespace dsl::slurm {
namespace {

TEST(CountGpus, AddsUpAllTypes) {
  EXPECT_EQ(count_gpus(""), 0u);
  EXPECT_EQ(count_gpus("gpu:2"), 2u);
  EXPECT_EQ(count_gpus("gpu:a100:2(S:0-1),gpu:t4:1"), 3u);
  EXPECT_EQ(count_gpus("gpu:a100:2(IDX:0,2),shard:8"), 2u);
  EXPECT_EQ(count_gpus("gpu:a100:0(IDX:N/A)"), 0u);
  EXPECT_EQ(count_gpus("shard:8,craynetwork:4"), 0u);
  EXPECT_EQ(count_gpus("gpu"), 1u);
}

TEST(CountGpus, SurvivesMalformedText) {
  EXPECT_EQ(count_gpus(",,,"), 0u);
  EXPECT_EQ(count_gpus("gpu:2(,gpu:3"), 2u);
  EXPECT_EQ(count_gpus("gpu:99999999999999999999"), 1u);
}

}  // namespace
}  // namespace dsl::slurm
