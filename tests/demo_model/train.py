"""Trains the demo model from generated data and saves float32 weights.

    python train_tokenizer.py --out OUT && python train.py --out OUT
"""

import argparse
import json
import math
import pathlib
import random
import time

import tokenizers
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import chat
import demo_config
import evaluate
import model as models
import problems

PAD = 2
MTP_WEIGHT = 0.3
FULL_RATE = 3e-3
BALANCE_SPEED = 0.002  # of the routing bias at the full learning rate; it falls with the learning rate


def batches(rng: random.Random, tokenizer: tokenizers.Tokenizer, size: int, close_share: float):
    """Endless batches of `size` samples of similar length."""
    while True:
        samples = (chat.training_sample(rng, tokenizer, close_share) for _ in range(32 * size))
        pool = sorted(samples, key=lambda sample: len(sample.ids))
        chunks = [pool[i:i + size] for i in range(0, len(pool), size)]
        rng.shuffle(chunks)
        yield from chunks


def tensors(samples: list[chat.Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    """ids [B, T] padded on the right, counted [B, T]: whether the loss counts the prediction of ids[b, t]."""
    length = max(len(sample.ids) for sample in samples)
    ids = torch.full((len(samples), length), PAD)
    counted = torch.zeros((len(samples), length), dtype=torch.bool)
    for row, sample in enumerate(samples):
        ids[row, :len(sample.ids)] = torch.tensor(sample.ids)
        counted[row, sample.prompt_length:len(sample.ids)] = True
    return ids, counted


def losses(model: models.DeepseekV3, ids: torch.Tensor, counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross entropy of the next token, and of the token after it by the MTP layer."""
    hidden, _ = model.hidden_states(ids)
    main = F.cross_entropy(model.lm_head(hidden[:, :-1][counted[:, 1:]]), ids[:, 1:][counted[:, 1:]])
    ahead = model.mtp_states(hidden, ids)
    mtp = F.cross_entropy(model.lm_head(ahead[:, :-1][counted[:, 2:]]), ids[:, 2:][counted[:, 2:]])
    return main, mtp


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))))


def train(arguments: argparse.Namespace) -> models.DeepseekV3:
    torch.manual_seed(arguments.seed)
    tokenizer = tokenizers.Tokenizer.from_file(str(arguments.out / "tokenizer.json"))
    config = demo_config.model_config(tokenizer.get_vocab_size())
    (arguments.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    model = models.DeepseekV3(config)
    if arguments.resume:
        model.load_state_dict(load_file(arguments.resume))
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05},
                                   {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.97), fused=True)
    stream = batches(random.Random(arguments.seed), tokenizer, arguments.batch, arguments.close_share)
    probe = random.Random(0).sample(problems.heldout_problems(), 100)
    begin = time.monotonic()
    last = arguments.stop or arguments.steps
    for step in range(last):
        rate = learning_rate(step, arguments.steps, arguments.peak_lr, arguments.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        main, mtp = losses(model, *tensors(next(stream)))
        optimizer.zero_grad(set_to_none=True)
        (main + MTP_WEIGHT * mtp).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for gate in model.gates:
            gate.balance(BALANCE_SPEED * rate / FULL_RATE)
        if step % 25 == 0:
            print(f"step {step} main {main.item():.4f} mtp {mtp.item():.4f} "
                  f"load {[g.load.tolist() for g in model.gates][0]} {time.monotonic() - begin:.0f} s", flush=True)
        if step % 200 == 199 or step + 1 == last:
            save_file(model.state_dict(), arguments.out / "trained.safetensors")
            right = evaluate.accuracy(model, tokenizer, probe, random.Random(0))
            print(f"step {step} held-out {right:.3f} {time.monotonic() - begin:.0f} s", flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--stop", type=int, help="end after this many steps of the schedule")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--peak-lr", type=float, default=FULL_RATE)
    parser.add_argument("--close-share", type=float, default=0.0, help="share of operand pairs close to each other")
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--resume", type=pathlib.Path, help="weights to start from, with a fresh optimiser")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments)


if __name__ == "__main__":
    main()
