"""Writes the parity fixtures: float32 logits of Hugging Face transformers on synthetic checkpoints.

    python make_fixtures.py                      # rewrites fixtures/<name>/
    python make_fixtures.py --checkpoints DIR    # also keeps each checkpoint in DIR/<name>/, as it is stored

The weights come from synthetic_weights.py and are not committed. A fixture holds
  config.json         the geometry
  fixture.json        seed, checkpoint dtype, scale type, token ids, CRC-32 of the stored bytes of every tensor, and how
                      far the routers were, at least, from choosing other experts
  logits.npy          [positions, vocab] float32
"""

import argparse
import json
import math
import pathlib
import tempfile
import zlib

import numpy
import torch
import transformers
from safetensors.torch import save_file
from transformers.models.deepseek_v2 import modeling_deepseek_v2

import decided_prompt
import fixture_configs
import synthetic_weights

HERE = pathlib.Path(__file__).resolve().parent


def remote_code_v2_router(self, hidden_states):
    """The V2 router as DeepSeek published it with the checkpoints.

    Native transformers ignores norm_topk_prob. The published code divides by the sum when it is set, and then does
    not apply routed_scaling_factor; otherwise it applies the factor only.
    """
    hidden_states = hidden_states.view(-1, self.hidden_dim)
    logits = torch.nn.functional.linear(hidden_states.float(), self.weight.float())
    scores = logits.softmax(-1)
    candidates = scores
    if self.topk_method == "group_limited_greedy":
        groups = scores.view(len(scores), self.num_group, -1).max(-1).values.topk(self.topk_group).indices
        mask = torch.zeros(len(scores), self.num_group).scatter_(1, groups, 1)
        candidates = scores * mask.repeat_interleave(self.num_experts // self.num_group, 1)
    weights, experts = candidates.topk(self.top_k)
    if self.norm_topk_prob:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    else:
        weights = weights * self.routed_scaling_factor
    return logits, weights, experts


def expected_softmax_scale(config: dict) -> float:
    """(nope + rope)^-1/2, times m^2 under YaRN: early native versions of V2 left the square out."""
    scale = (config["qk_nope_head_dim"] + config["qk_rope_head_dim"]) ** -0.5
    scaling = config["rope_scaling"]
    if scaling:
        scale *= (0.1 * scaling["mscale_all_dim"] * math.log(scaling["factor"]) + 1) ** 2
    return scale


def expected_rope(config: dict) -> tuple[numpy.ndarray, float]:
    """(rotation of each pair per position, multiplier of cos and sin), worked out from the definition of YaRN."""
    dim, theta, scaling = config["qk_rope_head_dim"], config["rope_theta"], config["rope_scaling"]
    plain = theta ** (-numpy.arange(0, dim, 2) / dim)
    if not scaling:
        return plain, 1.0

    def dimension(rotations: float) -> float:
        periods = scaling["original_max_position_embeddings"] / (rotations * 2 * math.pi)
        return dim * math.log(periods) / (2 * math.log(theta))

    def magnitude(mscale: float) -> float:
        return 0.1 * mscale * math.log(scaling["factor"]) + 1

    low = max(math.floor(dimension(scaling["beta_fast"])), 0)
    high = min(math.ceil(dimension(scaling["beta_slow"])), dim - 1)
    ramp = numpy.clip((numpy.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
    frequencies = plain / scaling["factor"] * ramp + plain * (1 - ramp)
    return frequencies, magnitude(scaling["mscale"]) / magnitude(scaling["mscale_all_dim"])


def check_oracle(model, config: dict) -> None:
    """Refuses a transformers version whose attention scale or rotation differs from the definition."""
    for layer in model.model.layers:
        assert math.isclose(layer.self_attn.scaling, expected_softmax_scale(config), rel_tol=1e-6)
    frequencies, multiplier = expected_rope(config)
    numpy.testing.assert_allclose(model.model.rotary_emb.inv_freq.numpy(), frequencies, rtol=1e-6)
    assert math.isclose(model.model.rotary_emb.attention_scaling, multiplier, rel_tol=1e-6)


def load_oracle(config: dict, weights: dict[str, torch.Tensor]):
    """The native transformers model on float32 weights, its main layers only."""
    config = {key: value for key, value in config.items() if key not in ("quantization_config", "torch_dtype")}
    beyond = f"model.layers.{config['num_hidden_layers']}."
    main = {name: tensor.contiguous() for name, tensor in weights.items() if not name.startswith(beyond)}
    with tempfile.TemporaryDirectory() as directory:
        (pathlib.Path(directory) / "config.json").write_text(json.dumps(config))
        save_file(main, pathlib.Path(directory) / "model.safetensors", metadata={"format": "pt"})
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    for layer in model.model.layers:
        if hasattr(layer.mlp, "gate"):
            layer.mlp.gate.norm_topk_prob = config["norm_topk_prob"]
    check_oracle(model, config)
    return model.eval()


@torch.no_grad()
def write(fixture: fixture_configs.FixtureConfig, out: pathlib.Path, checkpoints: pathlib.Path | None) -> None:
    config = fixture.config
    stored = synthetic_weights.checkpoint(config, fixture.dtype, fixture.seed, fixture.scale_type)
    model = load_oracle(config, synthetic_weights.upcast(stored))
    margins = decided_prompt.RoutingMargins(model, config)
    token_ids = decided_prompt.choose(model, margins, config["vocab_size"], fixture.positions,
                                      numpy.random.default_rng(fixture.seed))
    logits = model(torch.tensor([token_ids]), use_cache=False).logits[0].float().numpy()
    routing_margin = margins.take().min().item()
    assert numpy.isfinite(logits).all()
    assert routing_margin > 0.999 * decided_prompt.SMALLEST_MARGIN  # batches of candidates sum in another order
    checksums = {name: f"{zlib.crc32(synthetic_weights.stored_bytes(tensor)):08x}" for name, tensor in stored.items()}
    description = {"dtype": fixture.dtype, "scale_type": fixture.scale_type, "seed": fixture.seed,
                   "transformers": transformers.__version__, "routing_margin": round(routing_margin, 4),
                   "token_ids": token_ids, "crc32": checksums}
    directory = out / fixture.name
    directory.mkdir(parents=True, exist_ok=True)
    config_text = json.dumps(config, indent=2) + "\n"
    (directory / "config.json").write_text(config_text)
    (directory / "fixture.json").write_text(json.dumps(description, indent=0) + "\n")
    numpy.save(directory / "logits.npy", logits)
    if checkpoints:
        kept = checkpoints / fixture.name
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "config.json").write_text(config_text)
        save_file(stored, kept / "model.safetensors", metadata={"format": "pt"})
    ordered = numpy.sort(logits, -1)
    clear = (ordered[:, -1] - ordered[:, -2]) > 0.05 * (ordered[:, -1] - ordered[:, 0])
    print(f"{fixture.name}: {len(token_ids)} positions, logits {logits.min():.2f} to {logits.max():.2f}, "
          f"{clear.sum()} with a margin above 5 % of the range, smallest routing margin {routing_margin:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "fixtures")
    parser.add_argument("--checkpoints", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    modeling_deepseek_v2.DeepseekV2TopkRouter.forward = remote_code_v2_router
    for fixture in fixture_configs.FIXTURES:
        write(fixture, arguments.out, arguments.checkpoints)


if __name__ == "__main__":
    main()
