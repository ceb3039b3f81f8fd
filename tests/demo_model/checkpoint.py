"""Reading and writing demo checkpoints in the Hugging Face layout, BF16 or block-quantised FP8."""

import json
import pathlib

import torch
from safetensors.torch import load_file, save_file

import model as models

BLOCK = 128
E4M3_MAX = 448.0
BIAS_SUFFIX = "e_score_correction_bias"


def mtp_duplicates(config: dict) -> dict[str, str]:
    """Names under which the V3 layout stores the embedding and the head again, in the MTP layer."""
    prefix = f"model.layers.{config['num_hidden_layers']}."
    return {prefix + "embed_tokens.weight": "model.embed_tokens.weight",
            prefix + "shared_head.head.weight": "lm_head.weight"}


def is_quantised(name: str) -> bool:
    """FP8 holds every linear layer; embedding, head, norms, router and eh_proj stay in BF16."""
    kept = ("embed_tokens", "lm_head", "head.weight", "norm", "mlp.gate.", "eh_proj", "enorm", "hnorm")
    return not any(part in name for part in kept)


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """weight [out, in] f32 -> (e4m3 [out, in], f32 scales [ceil(out/128), ceil(in/128)])."""
    rows, columns = weight.shape
    values = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    scales = torch.ones(-(-rows // BLOCK), -(-columns // BLOCK))
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            block = (slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK))
            largest = weight[block].abs().max()
            if largest > 0:
                scales[i, j] = largest / E4M3_MAX
            scaled = (weight[block] / scales[i, j]).clamp(-E4M3_MAX, E4M3_MAX)
            values[block] = scaled.to(torch.float8_e4m3fn)
    return values, scales


def dequantise(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    expanded = scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    return values.float() * expanded[:values.shape[0], :values.shape[1]]


def save(directory: pathlib.Path, config: dict, state: dict[str, torch.Tensor], fp8: bool) -> None:
    """Writes config.json and model.safetensors from float32 weights."""
    config = dict(config)
    if fp8:
        config["quantization_config"] = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                         "weight_block_size": [BLOCK, BLOCK]}
    state = state | {copy: state[name] for copy, name in mtp_duplicates(config).items()}
    stored = {}
    for name, value in sorted(state.items()):
        if name.endswith(BIAS_SUFFIX):
            stored[name] = value.float()
        elif fp8 and is_quantised(name):
            stored[name], stored[name + "_scale_inv"] = quantise(value.float())
        else:
            stored[name] = value.to(torch.bfloat16)
    stored = {name: value.clone().contiguous() for name, value in stored.items()}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})


def load(directory: pathlib.Path) -> models.DeepseekV3:
    """The model of a checkpoint in float32, dequantised where it is FP8."""
    config = json.loads((directory / "config.json").read_text())
    stored = load_file(directory / "model.safetensors")
    state = {}
    for name, value in stored.items():
        if name in mtp_duplicates(config) or name.endswith("_scale_inv"):
            continue
        scales = stored.get(name + "_scale_inv")
        state[name] = value.float() if scales is None else dequantise(value, scales)
    model = models.DeepseekV3(config)
    model.load_state_dict(state)
    return model.eval()
