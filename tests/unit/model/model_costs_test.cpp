#include "engine/model/model_costs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dsl::model {
namespace {

using ::testing::Contains;
using ::testing::Field;
using ::testing::Not;

checkpoint::ModelConfig config() {
  checkpoint::ModelConfig result;
  result.num_hidden_layers = 4;
  result.num_attention_heads = 16;
  result.vocab_size = 100;
  result.intermediate_size = 320;
  result.moe_intermediate_size = 60;
  result.n_shared_experts = 2;
  result.first_k_dense_replace = 1;
  result.routing.n_routed_experts = 8;
  return result;
}

auto named(std::string_view name) { return Contains(Field(&parallel::SplitDimension::name, name)); }

TEST(ModelCostsTest, OnlyDimensionsOfLayersThatExistMustDivide) {
  EXPECT_THAT(split_dimensions(config()), named("intermediate_size"));
  EXPECT_THAT(split_dimensions(config()), named("n_routed_experts"));
  checkpoint::ModelConfig all_sparse = config();
  all_sparse.first_k_dense_replace = 0;
  EXPECT_THAT(split_dimensions(all_sparse), Not(named("intermediate_size")));
  checkpoint::ModelConfig no_shared = config();
  no_shared.n_shared_experts = 0;
  EXPECT_THAT(split_dimensions(no_shared), Not(named("n_shared_experts * moe_intermediate_size")));
}

}  // namespace
}  // namespace dsl::model
