"""The geometries of the parity fixtures: each branch of the DeepSeek V2 and V3 architectures at least once."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FixtureConfig:
    """One fixture: `config` is its config.json, `dtype` and `scale_type` say how its checkpoint is stored."""

    name: str
    config: dict
    dtype: str
    seed: int
    positions: int = 256
    scale_type: str = "f32"


def yarn(mscale: float, all_dim: float | None = None, factor: float = 40, original: int = 64) -> dict:
    return {"beta_fast": 32, "beta_slow": 1, "factor": factor, "mscale": mscale,
            "mscale_all_dim": mscale if all_dim is None else all_dim,
            "original_max_position_embeddings": original, "type": "yarn"}


TORCH_DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "fp8": "bfloat16"}


def _common(dtype: str, changes: dict) -> dict:
    config = {
        "attention_bias": False, "attention_dropout": 0.0, "first_k_dense_replace": 1, "hidden_act": "silu",
        "hidden_size": 96, "initializer_range": 0.02, "intermediate_size": 160, "kv_lora_rank": 32,
        "max_position_embeddings": 2560, "moe_intermediate_size": 48, "moe_layer_freq": 1, "n_group": 1,
        "n_routed_experts": 8, "n_shared_experts": 1, "norm_topk_prob": False, "num_attention_heads": 4,
        "num_experts_per_tok": 2, "num_hidden_layers": 3, "num_key_value_heads": 4, "q_lora_rank": None,
        "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "rms_norm_eps": 1e-6, "rope_scaling": yarn(1.0),
        "rope_theta": 10000, "routed_scaling_factor": 1.0, "tie_word_embeddings": False, "topk_group": 1,
        "torch_dtype": TORCH_DTYPES[dtype], "use_cache": True, "v_head_dim": 16, "vocab_size": 96,
    } | changes
    config["num_key_value_heads"] = config["num_attention_heads"]
    if config["rope_scaling"] is None:
        config["max_position_embeddings"] = 512
    return config


def _v2(name: str, dtype: str, seed: int, **changes) -> FixtureConfig:
    family = {"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "scoring_func": "softmax",
              "topk_method": "greedy", "bos_token_id": 0, "eos_token_id": 1, "n_shared_experts": 2}
    return FixtureConfig(name, _common(dtype, family | changes), dtype, seed)


def _v3(name: str, dtype: str, seed: int, scale_type: str = "f32", scale_fmt: str | None = None,
        **changes) -> FixtureConfig:
    family = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "scoring_func": "sigmoid",
              "topk_method": "noaux_tc", "bos_token_id": 0, "eos_token_id": 1, "norm_topk_prob": True,
              "routed_scaling_factor": 2.5, "num_nextn_predict_layers": 0}
    if dtype == "fp8":
        quantization = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                        "weight_block_size": [128, 128]}
        family["quantization_config"] = quantization | ({"scale_fmt": scale_fmt} if scale_fmt else {})
    return FixtureConfig(name, _common(dtype, family | changes), dtype, seed, scale_type=scale_type)


FIXTURES = [
    _v2("v2_lite_greedy_bf16", "bf16", 101, rope_scaling=yarn(0.707), vocab_size=128),
    _v2("v2_grouped_scale16_bf16", "bf16", 102, q_lora_rank=48, topk_method="group_limited_greedy", n_group=4,
        topk_group=2, routed_scaling_factor=16.0, rope_scaling=yarn(0.707), num_attention_heads=8),
    _v2("v2_greedy_norm_f32", "f32", 103, norm_topk_prob=True, routed_scaling_factor=16.0, num_experts_per_tok=3),
    _v2("v2_grouped_norm_norope_f16", "f16", 104, q_lora_rank=40, topk_method="group_limited_greedy", n_group=2,
        topk_group=1, norm_topk_prob=True, rope_scaling=None, num_experts_per_tok=3, hidden_size=48),
    _v2("v2_one_group_f32", "f32", 105, topk_method="group_limited_greedy", routed_scaling_factor=16.0,
        rope_scaling=None, num_hidden_layers=2, n_shared_experts=1, hidden_size=64, vocab_size=64),
    _v3("v3_grouped_bf16", "bf16", 201, q_lora_rank=48, n_group=4, topk_group=2, num_attention_heads=8,
        num_nextn_predict_layers=1, vocab_size=128),
    _v3("v3_one_group_f32", "f32", 202, norm_topk_prob=False, rope_scaling=None, num_experts_per_tok=4),
    _v3("v3_grouped_no_norm_f32", "f32", 203, q_lora_rank=32, n_group=4, topk_group=3, norm_topk_prob=False,
        num_experts_per_tok=4, n_shared_experts=2, first_k_dense_replace=2, num_hidden_layers=4),
    _v3("v3_f16", "f16", 204, q_lora_rank=56, rope_scaling=yarn(0.707), hidden_size=80, num_attention_heads=8,
        vocab_size=64, first_k_dense_replace=0),
    _v3("v3_fp8", "fp8", 205, q_lora_rank=96, n_group=4, topk_group=2, hidden_size=160, intermediate_size=320,
        moe_intermediate_size=144, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=24,
        num_attention_heads=8, num_nextn_predict_layers=1),
    _v3("v3_fp8_ue8m0_f32_scales", "fp8", 206, scale_fmt="ue8m0", hidden_size=144, q_lora_rank=64, n_group=2,
        topk_group=1, intermediate_size=288, moe_intermediate_size=64),
    _v3("v3_fp8_ue8m0_e8m0_scales", "fp8", 207, scale_fmt="ue8m0", scale_type="e8m0", hidden_size=160,
        intermediate_size=256, moe_intermediate_size=80, norm_topk_prob=False),
    _v3("v3_mixed_mscale_bf16", "bf16", 208, q_lora_rank=48, n_group=2, topk_group=2, rope_scaling=yarn(1.0, 0.707),
        qk_rope_head_dim=16),
    _v3("v3_small_factor_bf16", "bf16", 209, n_group=4, topk_group=2, rope_scaling=yarn(1.0, factor=4, original=128),
        qk_rope_head_dim=16, hidden_size=128, intermediate_size=256, moe_intermediate_size=64, num_hidden_layers=4,
        q_lora_rank=64, num_attention_heads=8, max_position_embeddings=512),
]
