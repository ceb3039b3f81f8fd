"""Deterministic random weights of any DeepSeek V2/V3 geometry, identical to those of `dslaunch weights synth`.

An element depends on the seed, the tensor's name and its flat row-major index only, through integer arithmetic that
every language can repeat:

    key = fnv1a64(name) xor (seed * GOLDEN mod 2^64)
    z   = splitmix64_mix(key + (index + 1) * GOLDEN mod 2^64)
    u   = float32(z >> 40) * 2^-23 - 1                       in [-1, 1), exact
    value = offset + amplitude * u                           float32, one rounding for each operation
"""

import math

import numpy
import torch

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
BLOCK = 128
E4M3_MAX = numpy.float32(448)


def fnv1a64(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def uniform(name: str, count: int, seed: int) -> numpy.ndarray:
    """`count` float32 values in [-1, 1)."""
    key = fnv1a64(name) ^ ((seed * GOLDEN) & MASK)
    z = numpy.uint64(key) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(GOLDEN)
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    z ^= z >> numpy.uint64(31)
    return (z >> numpy.uint64(40)).astype(numpy.float32) * numpy.float32(2.0**-23) - numpy.float32(1)


def offset_and_amplitude(name: str, shape: tuple[int, ...]) -> tuple[numpy.float32, numpy.float32]:
    if name.endswith("norm.weight"):
        return numpy.float32(1), numpy.float32(0.125)
    if name.endswith("e_score_correction_bias"):
        return numpy.float32(0), numpy.float32(0.125)
    if name.endswith("embed_tokens.weight"):
        return numpy.float32(0), numpy.float32(1)
    return numpy.float32(0), numpy.float32(math.sqrt(3.0 / shape[1]))


def values(name: str, shape: tuple[int, ...], seed: int) -> numpy.ndarray:
    """The float32 values of a tensor before it is stored in the checkpoint's type."""
    offset, amplitude = offset_and_amplitude(name, shape)
    return (offset + amplitude * uniform(name, math.prod(shape), seed)).reshape(shape)


def _attention_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    hidden, heads, latent = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    q_rank, q_width = config["q_lora_rank"], heads * (nope + rope)
    shapes = {"q_proj.weight": (q_width, hidden)}
    if q_rank is not None:
        shapes = {"q_a_proj.weight": (q_rank, hidden), "q_a_layernorm.weight": (q_rank,),
                  "q_b_proj.weight": (q_width, q_rank)}
    return shapes | {
        "kv_a_proj_with_mqa.weight": (latent + rope, hidden),
        "kv_a_layernorm.weight": (latent,),
        "kv_b_proj.weight": (heads * (nope + value), latent),
        "o_proj.weight": (hidden, heads * value),
    }


def _mlp_shapes(prefix: str, hidden: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {prefix + "gate_proj.weight": (inner, hidden), prefix + "up_proj.weight": (inner, hidden),
            prefix + "down_proj.weight": (hidden, inner)}


def _layer_shapes(config: dict, index: int) -> dict[str, tuple[int, ...]]:
    hidden, inner = config["hidden_size"], config["moe_intermediate_size"]
    shapes = {"input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,)}
    shapes |= {"self_attn." + name: shape for name, shape in _attention_shapes(config).items()}
    if index < config["first_k_dense_replace"]:
        return shapes | _mlp_shapes("mlp.", hidden, config["intermediate_size"])
    experts = config["n_routed_experts"]
    shapes["mlp.gate.weight"] = (experts, hidden)
    if config.get("topk_method") == "noaux_tc":
        shapes["mlp.gate.e_score_correction_bias"] = (experts,)
    for expert in range(experts):
        shapes |= _mlp_shapes(f"mlp.experts.{expert}.", hidden, inner)
    return shapes | _mlp_shapes("mlp.shared_experts.", hidden, inner * config["n_shared_experts"])


def tensor_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Hugging Face names and shapes of every tensor, the MTP layers' included."""
    hidden, vocab, depth = config["hidden_size"], config["vocab_size"], config["num_hidden_layers"]
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,),
              "lm_head.weight": (vocab, hidden)}
    for index in range(depth + config.get("num_nextn_predict_layers", 0)):
        prefix = f"model.layers.{index}."
        shapes |= {prefix + name: shape for name, shape in _layer_shapes(config, index).items()}
        if index >= depth:
            shapes |= {prefix + "embed_tokens.weight": (vocab, hidden), prefix + "enorm.weight": (hidden,),
                       prefix + "hnorm.weight": (hidden,), prefix + "eh_proj.weight": (hidden, 2 * hidden),
                       prefix + "shared_head.norm.weight": (hidden,),
                       prefix + "shared_head.head.weight": (vocab, hidden)}
    return shapes


def duplicated_tensor(name: str) -> str:
    """The tensor whose values `name` has: its own, but the main embedding and head for an MTP layer's copies."""
    if name.startswith("model.layers.") and name.endswith(".embed_tokens.weight"):
        return "model.embed_tokens.weight"
    if name.endswith(".shared_head.head.weight"):
        return "lm_head.weight"
    return name


def is_quantised(name: str) -> bool:
    """Whether an FP8 checkpoint stores this tensor in FP8: every linear but the head, the router and eh_proj."""
    return name.endswith("_proj.weight") and not name.endswith("eh_proj.weight") or name.endswith("_with_mqa.weight")


def _scale(largest: numpy.float32, power_of_two: bool) -> numpy.float32:
    if largest == 0:
        return numpy.float32(1)
    scale = numpy.float32(largest) / E4M3_MAX
    if power_of_two:
        mantissa, exponent = math.frexp(scale)
        scale = numpy.float32(math.ldexp(1.0, exponent - (mantissa == 0.5)))
    return scale


def quantise(weight: numpy.ndarray, power_of_two: bool) -> tuple[torch.Tensor, numpy.ndarray]:
    """weight [out, in] f32 -> (e4m3 [out, in], f32 scales [ceil(out/128), ceil(in/128)])."""
    rows, columns = weight.shape
    quotients = numpy.empty_like(weight)
    scales = numpy.empty((-(-rows // BLOCK), -(-columns // BLOCK)), numpy.float32)
    for i, j in numpy.ndindex(*scales.shape):
        block = (slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK))
        scales[i, j] = _scale(numpy.abs(weight[block]).max(), power_of_two)
        quotients[block] = weight[block] / scales[i, j]
    saturated = torch.from_numpy(quotients).clamp(-448, 448)
    return saturated.to(torch.float8_e4m3fn), scales


def dequantise(stored: torch.Tensor, scales: numpy.ndarray) -> torch.Tensor:
    expanded = scales.repeat(BLOCK, 0).repeat(BLOCK, 1)[:stored.shape[0], :stored.shape[1]]
    return stored.float() * torch.from_numpy(numpy.ascontiguousarray(expanded))


PLAIN_TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "fp8": torch.bfloat16}


def checkpoint(config: dict, dtype: str, seed: int, scale_type: str = "f32") -> dict[str, torch.Tensor]:
    """Every tensor as it is stored. `dtype` f32, bf16, f16 or fp8; `scale_type` f32 or e8m0, for fp8."""
    power_of_two = config.get("quantization_config", {}).get("scale_fmt") == "ue8m0"
    stored = {}
    for name, shape in tensor_shapes(config).items():
        source = duplicated_tensor(name)
        weight = values(source, shape, seed)
        if name.endswith("e_score_correction_bias"):
            stored[name] = torch.from_numpy(weight)
        elif dtype == "fp8" and is_quantised(name):
            stored[name], scales = quantise(weight, power_of_two)
            scales = torch.from_numpy(scales)
            stored[name + "_scale_inv"] = scales.to(torch.float8_e8m0fnu) if scale_type == "e8m0" else scales
        else:
            stored[name] = torch.from_numpy(weight).to(PLAIN_TYPES[dtype])
    return stored


def upcast(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The float32 weights that a checkpoint means."""
    weights = {}
    for name, tensor in stored.items():
        if name.endswith("_scale_inv"):
            continue
        scales = stored.get(name + "_scale_inv")
        weights[name] = tensor.float() if scales is None else dequantise(tensor, scales.float().numpy())
    return weights


def stored_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
