#!/usr/bin/env python3
"""Decoding and prefill of Hugging Face transformers on the geometry and the BF16 weights of model_bench.cpp.

Usage: transformers_bench.py [--config CONFIG.json] [--logits FILE] [--json FILE] [--device cuda]. Needs torch and
transformers with DeepSeek-V2, and no network. --logits: what gpu_bench --logits wrote; its sequences are run too and
the logits of their last tokens compared, in a model cut down as gpu_bench's was. Names of the results are those of
gpu_bench.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

PROMPT = 64
STEPS = 12
PREFILL = 4096
WEIGHT_SEED = 1  # sparse_checkpoint.h's kWeightSeed
TOLERANCE = 0.05  # of the logits' range: gpu_bench's between its own ways in BF16


def build(fields, device):
    import synthetic_model
    import torch
    import transformers

    left_out = ("architectures", "torch_dtype", "model_type")
    config = transformers.DeepseekV2Config(**{name: value for name, value in fields.items() if name not in left_out})
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        # Without an initialisation of its own, which takes longer than all that is measured.
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        model = model.to_empty(device=device)
    finally:
        torch.set_default_dtype(default)
    with torch.no_grad():
        others = synthetic_model.fill(model, fields, WEIGHT_SEED)
        if others:  # what it costs can be timed all the same
            print(f"{len(others)} tensors are not the checkpoint's: {', '.join(others[:3])}")
        # What is no parameter is computed, not loaded: made again where there is memory for it.
        for module_name, module in list(model.named_modules()):
            if type(module).__name__.endswith("RotaryEmbedding"):
                fresh = type(module)(config=config).to(device)
                parent = model.get_submodule(module_name.rpartition(".")[0])
                setattr(parent, module_name.rpartition(".")[2], fresh)
    return model.eval()


def synchronize(device):
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds_of(call, device):
    synchronize(device)
    start = time.perf_counter()
    result = call()
    synchronize(device)
    return time.perf_counter() - start, result


def decode_seconds(model, batch, vocab_size, device):
    import torch

    tokens = torch.randint(0, vocab_size, (batch, PROMPT), device=device)
    out = model(input_ids=tokens, use_cache=True, logits_to_keep=1)
    if not torch.isfinite(out.logits).all():
        sys.exit("transformers_bench: logits are not finite")
    cache = out.past_key_values
    times = []
    for _ in range(STEPS):
        # As gpu_bench's steps end with the next tokens on the host.
        def step():
            return model(input_ids=tokens[:, :1], past_key_values=cache, use_cache=True).logits[:, -1].argmax(-1).cpu()

        seconds, _ = seconds_of(step, device)
        times.append(seconds)
    return statistics.median(times[2:])


def prefill_seconds(model, vocab_size, device):
    import torch

    tokens = torch.randint(0, vocab_size, (1, PREFILL), device=device)
    times = []
    for _ in range(4):
        seconds, _ = seconds_of(lambda: model(input_ids=tokens, logits_to_keep=1).logits.argmax(-1).cpu(), device)
        times.append(seconds)
    return statistics.median(times[1:])


def load_logits(path):
    """Fields of config.json and, by name, (tokens, logits of the last) of each sequence; nothing without the file."""
    import safetensors

    if path is None or not pathlib.Path(path).exists():
        return {}, {}
    with safetensors.safe_open(path, "pt") as file:
        names = sorted({key.rpartition(".")[0] for key in file.keys()}, reverse=True)
        sequences = {name: (file.get_tensor(f"{name}.tokens").long(), file.get_tensor(f"{name}.logits"))
                     for name in names}
        return json.loads(file.metadata()["config"]), sequences


def last_logits(model, tokens, is_decoded):
    """Of the last token: alone behind the others, or in one step with them."""
    cache = None
    if is_decoded:
        cache = model(input_ids=tokens[:, :-1], use_cache=True, logits_to_keep=1).past_key_values
        tokens = tokens[:, -1:]
    return model(input_ids=tokens, past_key_values=cache, use_cache=is_decoded, logits_to_keep=1).logits[0, -1]


def compare(model, name, tokens, expected, device):
    actual = last_logits(model, tokens.to(device)[None], name == "decode").float().cpu()
    spread = (expected.max() - expected.min()).item()
    difference = (actual - expected).abs().max().item() / spread
    return {"name": name, "tokens": len(tokens), "difference": difference,
            "same_token": actual.argmax().item() == expected.argmax().item(), "agrees": difference <= TOLERANCE}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default=pathlib.Path(__file__).with_name("v2_lite_config.json"))
    parser.add_argument("--logits")
    parser.add_argument("--json")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    try:
        import torch
        import transformers
    except (ImportError, OSError) as error:  # the latter where a library is missing
        print(f"transformers_bench: skipped, {error}")
        return 0
    if not hasattr(transformers, "DeepseekV2Config"):
        print(f"transformers_bench: skipped, transformers {transformers.__version__} has no DeepSeek-V2")
        return 0
    torch.manual_seed(1)
    cut, sequences = load_logits(arguments.logits)
    fields = json.loads(pathlib.Path(arguments.config).read_text()) | cut
    seconds, model = seconds_of(lambda: build(fields, arguments.device), arguments.device)
    experts = getattr(model.config, "_experts_implementation", None)
    attention = getattr(model.config, "_attn_implementation", None)
    about = (f"{transformers.__version__}, torch {torch.__version__}, attention {attention}"
             + (f", experts {experts}" if experts else ""))
    print(f"{about}; model made in {seconds:.1f} s")
    vocab_size = model.config.vocab_size
    results = {"about": about, "rows": [], "logits": []}

    def save():
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")

    def measure(name, tokens, call):
        found = call()
        results["rows"].append({"name": name, "seconds": found, "tokens_per_second": tokens / found})
        print(f"{name}: {found * 1e3:.2f} ms, {tokens / found:.1f} tokens/s", flush=True)
        save()

    with torch.inference_mode():
        for batch in (1, 64):
            measure(f"decode, batch {batch}", batch,
                    lambda: decode_seconds(model, batch, vocab_size, arguments.device))
        measure(f"prefill of {PREFILL} tokens", PREFILL,
                lambda: prefill_seconds(model, vocab_size, arguments.device))
        for name, (tokens, expected) in sequences.items():
            found = compare(model, name, tokens, expected, arguments.device)
            results["logits"].append(found)
            print(f"logits of {name}: differ by {found['difference']:.1e} of their range, the likeliest token is "
                  f"{'the same' if found['same_token'] else 'another'}", flush=True)
            save()
    return 0 if all(found["agrees"] for found in results["logits"]) else 1


if __name__ == "__main__":
    sys.exit(main())
