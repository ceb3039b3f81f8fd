"""Weights of a synthetic checkpoint, as tests/reference/synthetic_weights.py defines them, made on the device in a
transformers model."""

import math
import pathlib
import re
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "reference"))
import synthetic_weights  # noqa: E402

CHUNK = 1 << 25  # elements that are made at once: two int64 and a float32 of each beside the weights
FUSED = re.compile(r"(.*\.experts\.)(gate_up_proj|down_proj)$")


def signed(value):
    """The int64 of the same bits: its products and sums wrap as those of uint64."""
    return value - (1 << 64) if value >> 63 else value


class Filler:

    def __init__(self, device, seed):
        self.indices, self.spare = (torch.empty(CHUNK, dtype=torch.int64, device=device) for _ in range(2))
        self.floats = torch.empty(CHUNK, dtype=torch.float32, device=device)
        self.seed = seed

    def fill(self, name, tensor):
        shape = (tensor.numel() // tensor.shape[-1], tensor.shape[-1])
        offset, amplitude = (float(value) for value in synthetic_weights.offset_and_amplitude(name, shape))
        key = synthetic_weights.fnv1a64(name) ^ (self.seed * synthetic_weights.GOLDEN & synthetic_weights.MASK)
        elements = tensor.view(-1)
        for first in range(0, elements.numel(), CHUNK):
            part = elements[first:first + CHUNK]
            z, spare, u = (buffer[:part.numel()] for buffer in (self.indices, self.spare, self.floats))
            torch.arange(first + 1, first + 1 + part.numel(), out=z)
            z.mul_(signed(synthetic_weights.GOLDEN)).add_(signed(key))
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
                self.shift_right(z, shift, spare)
                z.bitwise_xor_(spare).mul_(signed(factor))
            self.shift_right(z, 40, spare)
            u.copy_(spare).mul_(2.0**-23).sub_(1)
            # Rounded twice to float32, then to the weight's type.
            part.copy_(u.mul_(amplitude).add_(offset))

    @staticmethod
    def shift_right(value, bits, out):
        """Of the 64 bits without a sign."""
        torch.bitwise_right_shift(value, bits, out=out)
        out.bitwise_and_((1 << (64 - bits)) - 1)


def tensors_of(name, parameter, config):
    """(name in the checkpoint, view of the parameter) of what a parameter is made of; itself where that is unknown."""
    fused = FUSED.match(name)
    if fused is None or parameter.dim() != 3:
        return [(name, parameter)]
    prefix, kind = fused.groups()
    hidden, inner = config.hidden_size, config.moe_intermediate_size
    expected = (2 * inner, hidden) if kind == "gate_up_proj" else (hidden, inner)
    if tuple(parameter.shape[1:]) != expected:
        return [(name, parameter)]
    tensors = []
    for expert, weight in enumerate(parameter):
        if kind == "gate_up_proj":
            tensors += [(f"{prefix}{expert}.gate_proj.weight", weight[:inner]),
                        (f"{prefix}{expert}.up_proj.weight", weight[inner:])]
        else:
            tensors.append((f"{prefix}{expert}.down_proj.weight", weight))
    return tensors


@torch.no_grad()
def fill(model, fields, seed):
    """`fields` are those of config.json. Returns the names of tensors that model or checkpoint have alone; the model's
    have values of their own."""
    missing = {name: math.prod(shape) for name, shape in synthetic_weights.tensor_shapes(fields).items()}
    unknown = []
    filler = Filler(next(model.parameters()).device, seed)
    for parameter_name, parameter in model.named_parameters():
        for name, tensor in tensors_of(parameter_name, parameter, model.config):
            if missing.get(name) == tensor.numel():
                del missing[name]
            else:
                unknown.append(name)
            filler.fill(name, tensor)
    return unknown + sorted(missing)
