#include "engine/checkpoint/model_config.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "checkpoint_files.h"

namespace dsl::checkpoint {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json v3_config() {
  return json::parse(R"({
    "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_nextn_predict_layers": 1,
    "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4, "topk_method": "noaux_tc",
    "scoring_func": "sigmoid", "norm_topk_prob": true, "routed_scaling_factor": 2.5, "first_k_dense_replace": 3,
    "moe_layer_freq": 1, "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 163840,
    "attention_bias": false, "attention_dropout": 0.0, "hidden_act": "silu", "tie_word_embeddings": false,
    "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
                     "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                            "weight_block_size": [128, 128]}
  })");
}

Result<ModelConfig> parse(const json& config) {
  return parse_model_config(config.dump(), "config.json");
}

TEST(ModelConfig, ReadsDeepseekV3) {
  const auto config = parse(v3_config());
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->model_type, ModelType::kDeepseekV3);
  EXPECT_EQ(config->q_lora_rank, 1536);
  EXPECT_EQ(config->routing.n_group, 8);
  EXPECT_EQ(config->routing.topk_group, 4);
  EXPECT_EQ(config->routing.topk_method, TopkMethod::kNoauxTc);
  EXPECT_TRUE(config->routing.norm_topk_prob);
  EXPECT_FLOAT_EQ(config->routing.routed_scaling_factor, 2.5f);
  EXPECT_FALSE(config->is_moe_layer(2));
  EXPECT_TRUE(config->is_moe_layer(3));
  ASSERT_TRUE(config->fp8.has_value());
  EXPECT_FALSE(config->fp8->ue8m0_scales);
  EXPECT_NEAR(config->softmax_scale(), 0.1352338, 1e-6);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(1));
  EXPECT_EQ(config->bos_token_id, 0);
}

TEST(ModelConfig, ReadsDeepseekV2Lite) {
  json text = v3_config();
  text.update(
      json::parse(R"({"model_type": "deepseek_v2", "q_lora_rank": null, "scoring_func": "softmax",
      "topk_method": "greedy", "n_group": null, "topk_group": null, "norm_topk_prob": false,
      "quantization_config": null, "num_nextn_predict_layers": null, "n_shared_experts": 2})"));
  text["rope_scaling"]["mscale"] = text["rope_scaling"]["mscale_all_dim"] = 0.707;
  const auto config = parse(text);
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_FALSE(config->q_lora_rank.has_value());
  EXPECT_FALSE(config->fp8.has_value());
  EXPECT_EQ(config->routing.scoring_func, ScoringFunc::kSoftmax);
  EXPECT_EQ(config->routing.topk_method, TopkMethod::kGreedy);
  EXPECT_EQ(config->routing.n_group, 1);
  EXPECT_NEAR(config->softmax_scale(), 0.1147214, 1e-6);
}

TEST(ModelConfig, RopeMayStandInEitherFieldWithEitherTypeKey) {
  json text = v3_config();
  json rope = text["rope_scaling"];
  text.erase("rope_scaling");
  text.erase("rope_theta");
  rope.erase("type");
  rope["rope_type"] = "yarn";
  rope["rope_theta"] = 50000;
  text["rope_parameters"] = rope;
  const auto config = parse(text);
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->rope_theta, 50000);
  ASSERT_TRUE(config->yarn.has_value());
  EXPECT_EQ(config->yarn->factor, 40);
  text["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000}};
  EXPECT_FALSE(parse(text)->yarn.has_value());
}

TEST(ModelConfig, DefaultsFollowTheModelType) {
  json text = v3_config();
  for (const char* name :
       {"topk_method", "scoring_func", "moe_layer_freq", "attention_bias", "hidden_act"})
    text.erase(name);
  EXPECT_EQ(parse(text)->routing.topk_method, TopkMethod::kNoauxTc);
  text["model_type"] = "deepseek_v2";
  EXPECT_EQ(parse(text)->routing.topk_method, TopkMethod::kGreedy);
  EXPECT_EQ(parse(text)->routing.scoring_func, ScoringFunc::kSoftmax);
}

TEST(ModelConfig, DtypeIsReadUnderBothNames) {
  json text = v3_config();
  text.erase("torch_dtype");
  text["dtype"] = "float16";
  EXPECT_EQ(parse(text)->torch_dtype, "float16");
}

TEST(ModelConfig, Ue8m0ScalesAreKnown) {
  json text = v3_config();
  text["quantization_config"]["scale_fmt"] = "ue8m0";
  EXPECT_TRUE(parse(text)->fp8->ue8m0_scales);
}

struct BadField {
  const char* patch;
  ErrorCode code;
  const char* field;
};

class BadFields : public testing::TestWithParam<BadField> {};

TEST_P(BadFields, AreNamedWithTheirValue) {
  json text = v3_config();
  text.merge_patch(json::parse(GetParam().patch));
  const auto config = parse(text);
  ASSERT_FALSE(config.has_value()) << GetParam().patch;
  EXPECT_EQ(config.error().code, GetParam().code) << config.error().message;
  EXPECT_THAT(config.error().message, HasSubstr(std::string("field ") + GetParam().field + ":"));
  EXPECT_THAT(config.error().message, HasSubstr("config.json"));
}

constexpr ErrorCode kUnsupported = ErrorCode::kModelUnsupported;
constexpr ErrorCode kWrong = ErrorCode::kModelConfig;

INSTANTIATE_TEST_SUITE_P(
    Unsupported, BadFields,
    testing::Values(BadField{R"({"model_type": "deepseek_v32"})", kUnsupported, "model_type"},
                    BadField{R"({"model_type": "deepseek_v4"})", kUnsupported, "model_type"},
                    BadField{R"({"model_type": "llama"})", kUnsupported, "model_type"},
                    BadField{R"({"attention_bias": true})", kUnsupported, "attention_bias"},
                    BadField{R"({"mlp_bias": true})", kUnsupported, "mlp_bias"},
                    BadField{R"({"rope_interleave": false})", kUnsupported, "rope_interleave"},
                    BadField{R"({"hidden_act": "gelu"})", kUnsupported, "hidden_act"},
                    BadField{R"({"num_key_value_heads": 8})", kUnsupported, "num_key_value_heads"},
                    BadField{R"({"index_topk": 2048})", kUnsupported, "index_topk"},
                    BadField{R"({"sliding_window": 128})", kUnsupported, "sliding_window"},
                    BadField{R"({"scoring_func": "sqrtsoftplus"})", kUnsupported, "scoring_func"},
                    BadField{R"({"topk_method": "random"})", kUnsupported, "topk_method"},
                    BadField{R"({"topk_method": "greedy"})", kUnsupported, "topk_method"},
                    BadField{R"({"rope_scaling": {"type": "linear"}})", kUnsupported, "type"},
                    BadField{R"({"rope_scaling": {"attention_factor": 2.0}})", kUnsupported,
                             "attention_factor"},
                    BadField{R"({"rope_scaling": {"truncate": false}})", kUnsupported, "truncate"},
                    BadField{R"({"quantization_config": {"quant_method": "awq"}})", kUnsupported,
                             "quant_method"},
                    BadField{R"({"quantization_config": {"fmt": "e5m2"}})", kUnsupported, "fmt"},
                    BadField{R"({"quantization_config": {"activation_scheme": "static"}})",
                             kUnsupported, "activation_scheme"},
                    BadField{R"({"quantization_config": {"weight_block_size": [32, 32]}})",
                             kUnsupported, "weight_block_size"},
                    BadField{R"({"quantization_config": {"scale_fmt": "int8"}})", kUnsupported,
                             "scale_fmt"}));

INSTANTIATE_TEST_SUITE_P(
    Wrong, BadFields,
    testing::Values(BadField{R"({"model_type": null})", kWrong, "model_type"},
                    BadField{R"({"hidden_size": null})", kWrong, "hidden_size"},
                    BadField{R"({"hidden_size": "7168"})", kWrong, "hidden_size"},
                    BadField{R"({"hidden_size": 0})", kWrong, "hidden_size"},
                    BadField{R"({"hidden_size": -1})", kWrong, "hidden_size"},
                    BadField{R"({"hidden_size": 1.5})", kWrong, "hidden_size"},
                    BadField{R"({"hidden_size": 18446744073709551615})", kWrong, "hidden_size"},
                    BadField{R"({"num_hidden_layers": 1000000})", kWrong, "num_hidden_layers"},
                    BadField{R"({"qk_rope_head_dim": 63})", kWrong, "qk_rope_head_dim"},
                    BadField{R"({"n_group": 7})", kWrong, "n_group"},
                    BadField{R"({"n_group": 256})", kWrong, "n_group"},
                    BadField{R"({"topk_group": 9})", kWrong, "topk_group"},
                    BadField{R"({"num_experts_per_tok": 257})", kWrong, "num_experts_per_tok"},
                    BadField{R"({"num_experts_per_tok": 129})", kWrong, "num_experts_per_tok"},
                    BadField{R"({"n_routed_experts": 65536})", kWrong, "n_routed_experts"},
                    BadField{R"({"moe_intermediate_size": null})", kWrong, "moe_intermediate_size"},
                    BadField{R"({"norm_topk_prob": 1})", kWrong, "norm_topk_prob"},
                    BadField{R"({"rope_theta": 0})", kWrong, "rope_theta"},
                    BadField{R"({"rope_scaling": "yarn"})", kWrong, "rope_scaling"},
                    BadField{R"({"rope_scaling": {"factor": null}})", kWrong, "factor"},
                    BadField{R"({"rope_scaling": {"factor": 0.5}})", kWrong, "factor"},
                    BadField{R"({"rope_scaling": {"original_max_position_embeddings": null}})",
                             kWrong, "original_max_position_embeddings"},
                    BadField{R"({"rope_parameters": {"rope_type": "default"}})", kWrong,
                             "rope_parameters"},
                    BadField{R"({"eos_token_id": 129280})", kWrong, "eos_token_id"},
                    BadField{R"({"eos_token_id": ["a"]})", kWrong, "eos_token_id"},
                    BadField{R"({"bos_token_id": -1})", kWrong, "bos_token_id"},
                    BadField{R"({"quantization_config": []})", kWrong, "quantization_config"}));

class BadTexts : public testing::TestWithParam<const char*> {};

TEST_P(BadTexts, AreModelConfigErrors) {
  const auto config = parse_model_config(GetParam(), "config.json");
  ASSERT_FALSE(config.has_value());
  EXPECT_EQ(config.error().code, kWrong);
  EXPECT_THAT(config.error().message, HasSubstr("config.json"));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadTexts,
    testing::Values("", "{", "[]", "null", "7", "{\"model_type\": 1e999}", "\xff\xfe",
                    R"({"model_type":"deepseek_v3","model_type":"deepseek_v2"})"));

TEST(ModelConfig, DeepNestingIsRefused) {
  const std::string text = "{\"a\":" + std::string(100'000, '[');
  EXPECT_THAT(parse_model_config(text, "config.json").error().message,
              HasSubstr("nested deeper than 64"));
}

TEST(LoadModelConfig, TakesEosFromGenerationConfig) {
  const TemporaryDirectory directory;
  directory.write("config.json", v3_config().dump());
  EXPECT_THAT(load_model_config(directory.path())->eos_token_ids, ElementsAre(1));
  directory.write("generation_config.json", R"({"eos_token_id": [1, 7]})");
  EXPECT_THAT(load_model_config(directory.path())->eos_token_ids, ElementsAre(1, 7));
  EXPECT_EQ(load_model_config(directory.path())->bos_token_id, 0);
}

TEST(LoadModelConfig, MissingFileIsNamed) {
  const TemporaryDirectory directory;
  const auto config = load_model_config(directory.path());
  ASSERT_FALSE(config.has_value());
  EXPECT_EQ(config.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(config.error().message, HasSubstr("config.json"));
}

}  // namespace
}  // namespace dsl::checkpoint
