"""DeepSeek-V3 in PyTorch, for training the demo model. Module names are the checkpoint's tensor names.

Shapes: B sequences, T positions, h hidden size, H heads, N = B*T tokens, E routed experts, k experts per token.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

Cache = list[tuple[torch.Tensor, torch.Tensor]]


def linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    return layer


def yarn_frequencies(config: dict) -> torch.Tensor:
    """Rotation per position of each pair of the rope dimensions, [rope/2]."""
    dim, theta, scaling = config["qk_rope_head_dim"], config["rope_theta"], config["rope_scaling"]
    original = scaling["original_max_position_embeddings"]

    def correction(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(correction(scaling["beta_fast"])), 0)
    high = min(math.ceil(correction(scaling["beta_slow"])), dim - 1)
    ramp = ((torch.arange(dim // 2).float() - low) / max(high - low, 0.001)).clamp(0, 1)
    plain = theta ** (-torch.arange(0, dim, 2).float() / dim)
    return plain / scaling["factor"] * ramp + plain * (1 - ramp)


def softmax_scale(config: dict) -> float:
    scaling = config["rope_scaling"]
    mscale = 0.1 * scaling["mscale_all_dim"] * math.log(scaling["factor"]) + 1
    return (config["qk_nope_head_dim"] + config["qk_rope_head_dim"]) ** -0.5 * mscale**2


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates the interleaved pairs of x [B, heads, T, rope] by angles whose cos and sin are [T, rope/2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Attention(nn.Module):
    """Multi-head latent attention in expanded form."""

    def __init__(self, config: dict):
        super().__init__()
        hidden, heads, eps = config["hidden_size"], config["num_attention_heads"], config["rms_norm_eps"]
        self.heads, self.latent = heads, config["kv_lora_rank"]
        self.nope, self.rope, self.value = (
            config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"])
        self.scale = softmax_scale(config)
        self.q_a_proj = linear(hidden, config["q_lora_rank"])
        self.q_a_layernorm = nn.RMSNorm(config["q_lora_rank"], eps)
        self.q_b_proj = linear(config["q_lora_rank"], heads * (self.nope + self.rope))
        self.kv_a_proj_with_mqa = linear(hidden, self.latent + self.rope)
        self.kv_a_layernorm = nn.RMSNorm(self.latent, eps)
        self.kv_b_proj = linear(self.latent, heads * (self.nope + self.value))
        self.o_proj = linear(heads * self.value, hidden)

    def forward(self, x, cos, sin, past=None):
        """x [B, T, h] -> (output [B, T, h], (keys [B, H, S, nope+rope], values [B, H, S, v])), S past and new."""
        batch, length, _ = x.shape
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))).view(batch, length, self.heads, -1).transpose(1, 2)
        q = torch.cat((q[..., :self.nope], rotate(q[..., self.nope:], cos, sin)), -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split((self.latent, self.rope), -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(batch, length, self.heads, -1).transpose(1, 2)
        k_rope = rotate(k_rope.unsqueeze(1), cos, sin).expand(-1, self.heads, -1, -1)
        k, v = torch.cat((kv[..., :self.nope], k_rope), -1), kv[..., self.nope:]
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        mask = torch.ones(length, k.shape[2], dtype=torch.bool).tril(k.shape[2] - length)
        scores = (q * self.scale) @ k.transpose(2, 3)
        out = scores.masked_fill(~mask, -math.inf).softmax(-1) @ v
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1)), (k, v)


class Mlp(nn.Module):
    def __init__(self, hidden: int, inner: int):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (
            linear(hidden, inner), linear(hidden, inner), linear(inner, hidden))

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    """Sigmoid routing limited to the best groups; the bias moves the choice, never the weight."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.randn(config["n_routed_experts"], config["hidden_size"])
                                   * config["hidden_size"] ** -0.5)
        self.register_buffer("e_score_correction_bias", torch.zeros(config["n_routed_experts"]))
        self.load = None

    def forward(self, x):
        """x [N, h] -> (weights [N, k], experts [N, k])."""
        config = self.config
        scores = F.linear(x.float(), self.weight.float()).sigmoid()
        choice = (scores.detach() + self.e_score_correction_bias).view(len(x), config["n_group"], -1)
        best_groups = choice.topk(2, -1).values.sum(-1).topk(config["topk_group"], -1).indices
        allowed = torch.zeros(len(x), config["n_group"], dtype=torch.bool).scatter_(1, best_groups, True)
        choice = choice.masked_fill(~allowed.unsqueeze(-1), -math.inf).flatten(1)
        experts = choice.topk(config["num_experts_per_tok"], -1).indices
        self.load = torch.bincount(experts.flatten(), minlength=config["n_routed_experts"])
        weights = scores.gather(1, experts)
        return weights / (weights.sum(-1, keepdim=True) + 1e-20) * config["routed_scaling_factor"], experts

    def balance(self, speed: float) -> None:
        """Auxiliary-loss-free balancing: raise the bias of underused experts, lower that of overused ones."""
        load = self.load.float()
        self.e_score_correction_bias += speed * (load.mean() - load).sign()


class MoE(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        hidden, inner = config["hidden_size"], config["moe_intermediate_size"]
        self.gate = Gate(config)
        self.experts = nn.ModuleList(Mlp(hidden, inner) for _ in range(config["n_routed_experts"]))
        self.shared_experts = Mlp(hidden, inner * config["n_shared_experts"])

    def forward(self, x):
        flat = x.flatten(0, -2)
        weights, experts = self.gate(flat)
        out = self.shared_experts(flat)
        for index, expert in enumerate(self.experts):
            rows, slots = (experts == index).nonzero(as_tuple=True)
            out = out.index_add(0, rows, expert(flat[rows]) * weights[rows, slots].unsqueeze(1))
        return out.view_as(x)


class Layer(nn.Module):
    def __init__(self, config: dict, dense: bool):
        super().__init__()
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(hidden, eps), nn.RMSNorm(hidden, eps)
        self.self_attn = Attention(config)
        self.mlp = Mlp(hidden, config["intermediate_size"]) if dense else MoE(config)

    def forward(self, x, cos, sin, past=None):
        attended, present = self.self_attn(self.input_layernorm(x), cos, sin, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), present


class MtpLayer(Layer):
    """Multi-token prediction: from the final hidden state at i and the token at i+1, predicts the token at i+2."""

    def __init__(self, config: dict):
        super().__init__(config, dense=False)
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.enorm, self.hnorm = nn.RMSNorm(hidden, eps), nn.RMSNorm(hidden, eps)
        self.eh_proj = linear(2 * hidden, hidden)
        self.shared_head = nn.ModuleDict({"norm": nn.RMSNorm(hidden, eps)})

    def forward(self, hidden, next_embedding, cos, sin):
        """hidden, next_embedding [B, T, h] -> normed state [B, T, h] for the shared head."""
        joined = self.eh_proj(torch.cat((self.enorm(next_embedding), self.hnorm(hidden)), -1))
        return self.shared_head["norm"](super().forward(joined, cos, sin)[0])


class Backbone(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        depth, dense = config["num_hidden_layers"], config["first_k_dense_replace"]
        layers = [Layer(config, index < dense) for index in range(depth)]
        self.layers = nn.ModuleList([*layers, MtpLayer(config)])
        self.norm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])


class DeepseekV3(nn.Module):
    """The language model. `model.layers` holds the decoder layers and, last, the MTP layer."""

    def __init__(self, config: dict):
        super().__init__()
        self.model = Backbone(config)
        self.lm_head = linear(config["hidden_size"], config["vocab_size"])
        positions = torch.arange(config["max_position_embeddings"]).float()
        angles = positions.unsqueeze(1) * yarn_frequencies(config)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for layer in self.model.layers:
            downs = [m.down_proj for m in layer.modules() if isinstance(m, Mlp)]
            for projection in (layer.self_attn.o_proj, *downs):
                projection.weight.data /= math.sqrt(2 * config["num_hidden_layers"])

    @property
    def gates(self) -> list[Gate]:
        return [layer.mlp.gate for layer in self.model.layers if isinstance(layer.mlp, MoE)]

    def hidden_states(self, ids: torch.Tensor, cache: Cache | None = None) -> tuple[torch.Tensor, Cache]:
        """ids [B, T] -> (states after the final norm [B, T, h], cache with these positions added)."""
        start = cache[0][0].shape[2] if cache else 0
        cos, sin = self.cos[start:start + ids.shape[1]], self.sin[start:start + ids.shape[1]]
        x, presents = self.model.embed_tokens(ids), []
        for index, layer in enumerate(self.model.layers[:-1]):
            x, present = layer(x, cos, sin, cache[index] if cache else None)
            presents.append(present)
        return self.model.norm(x), presents

    def mtp_states(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """hidden [B, T, h] of ids [B, T] -> states [B, T-1, h]; entry i predicts the token at i+2."""
        length = ids.shape[1] - 1
        embedded = self.model.embed_tokens(ids[:, 1:])
        return self.model.layers[-1](hidden[:, :-1], embedded, self.cos[:length], self.sin[:length])
