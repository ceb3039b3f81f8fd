#include "engine/checkpoint/inspect.h"

#include <gmock/gmock.h>

#include "checkpoint_files.h"
#include "engine/checkpoint/synth.h"
#include "engine/checkpoint/tensor_plan.h"

namespace dsl::checkpoint {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

ModelConfig v2_lite() {
  return *parse_model_config(
      R"({"model_type":"deepseek_v2","vocab_size":102400,"hidden_size":2048,"intermediate_size":10944,
          "moe_intermediate_size":1408,"num_hidden_layers":27,"num_attention_heads":16,"q_lora_rank":null,
          "kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,"n_routed_experts":64,
          "n_shared_experts":2,"num_experts_per_tok":6,"first_k_dense_replace":1,"max_position_embeddings":163840})",
      "config.json");
}

TEST(PlanTensors, CountsTheParametersOfV2Lite) {
  std::int64_t parameters = 0;
  for (const PlannedTensor& tensor : plan_tensors(v2_lite())) parameters += tensor.num_elements();
  EXPECT_NEAR(static_cast<double>(parameters), 15.706e9, 1e6);
}

TEST(Inspect, ReportsActiveParametersAndWhatIsMissingOrForeign) {
  const TemporaryDirectory directory;
  directory.write(
      "model.safetensors",
      safetensors_file(R"({"foreign":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                       R"("model.norm.weight":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},)"
                       R"("model.layers.0.self_attn.rotary_emb.inv_freq":)"
                       R"({"dtype":"U8","shape":[1],"data_offsets":[8,9]}})",
                       "123456789"));
  const CheckpointSummary summary = inspect(*Checkpoint::open(directory.path()), v2_lite());
  EXPECT_THAT(summary.unexpected, ElementsAre("foreign"));
  EXPECT_THAT(summary.missing, Contains("lm_head.weight"));
  EXPECT_THAT(summary.mismatched,
              ElementsAre(HasSubstr("model.norm.weight: expected [2048], found [2]")));
  EXPECT_NEAR(static_cast<double>(summary.num_active_parameters), 2.66e9, 0.01e9);
  EXPECT_EQ(summary.num_tensors, 3);
  EXPECT_EQ(summary.bytes_by_dtype.at("U8"), 5);
}

}  // namespace
}  // namespace dsl::checkpoint
