"""Prompts on which the reference model decides clearly which experts run.

Random weights leave the choice of experts nearly tied at 20 to 56 % of random tokens. At a tie the rounding of BF16
activations runs another expert, there and in what later positions attend to, and the logits say nothing about
an error any more. So a fixture's prompt avoids ties, by the reference's own float32 margins and nothing else: no other
implementation is asked, and the margins of the logits play no part.
"""

import math

import numpy
import torch
from transformers.cache_utils import DynamicCache

# Twice the most that BF16 activations moved a margin when they were tried in the reference (README.md).
SMALLEST_MARGIN = 1 / 32


def routing_margin(gate, logits: torch.Tensor, config: dict) -> torch.Tensor:
    """Smallest gap, for each token [N], between what the router chose and the best it left out; logits [N, E]."""
    if config["topk_method"] == "noaux_tc":
        choice, top, excluded = logits.sigmoid() + gate.e_score_correction_bias, 2, -math.inf
    else:
        choice, top, excluded = logits.softmax(-1), 1, 0.0
    margin = torch.full((len(logits),), math.inf)
    kept = config["topk_group"]
    if config["topk_method"] != "greedy" and kept < config["n_group"]:
        grouped = choice.view(len(choice), config["n_group"], -1)
        group_scores = grouped.topk(top, -1).values.sum(-1)
        ordered = group_scores.sort(-1, descending=True)
        margin = ordered.values[:, kept - 1] - ordered.values[:, kept]
        allowed = torch.zeros_like(group_scores).scatter_(1, ordered.indices[:, :kept], 1).bool()
        choice = grouped.masked_fill(~allowed.unsqueeze(-1), excluded).flatten(1)
    ordered = choice.sort(-1, descending=True).values
    k = config["num_experts_per_tok"]
    return torch.minimum(margin, ordered[:, k - 1] - ordered[:, k])


class RoutingMargins:
    """Watches every router of a model. Non-owning: the model must outlive it."""

    def __init__(self, model, config: dict):
        self._of_layers: list[torch.Tensor] = []
        for layer in model.model.layers:
            if hasattr(layer.mlp, "gate"):
                layer.mlp.gate.register_forward_hook(
                    lambda gate, _, output: self._of_layers.append(routing_margin(gate, output[0], config)))

    def take(self) -> torch.Tensor:
        """The smallest margin over all layers of each token [N] that ran since the last call."""
        smallest = torch.stack(self._of_layers).min(0).values
        self._of_layers.clear()
        return smallest


@torch.no_grad()
def choose(model, margins: RoutingMargins, vocab_size: int, num_positions: int,
           generator: numpy.random.Generator) -> list[int]:
    """At each position the first token, in an order drawn from `generator`, that no router is undecided about."""
    cache, chosen = DynamicCache(config=model.config), []
    for position in range(num_positions):
        candidates = torch.from_numpy(generator.permutation(vocab_size))
        cache.batch_repeat_interleave(vocab_size)
        model(candidates.unsqueeze(1), past_key_values=cache)
        decided = (margins.take() >= SMALLEST_MARGIN).nonzero().flatten()
        assert len(decided), f"every token leaves a router undecided at position {position}: take another seed"
        chosen.append(candidates[decided[0]].item())
        cache.batch_select_indices(decided[:1])
    return chosen
