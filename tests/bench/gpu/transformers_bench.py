#!/usr/bin/env python3
"""Decoding and prefill of Hugging Face transformers on the geometry of model_bench.cpp, random BF16 weights.

Usage: transformers_bench.py [--config CONFIG.json] [--json FILE] [--device cuda]. Needs torch and transformers with
DeepSeek-V2, and no network. The weights are other random ones than gpu_bench's: speed does not depend on them. Names
of the results are those of gpu_bench.
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


def build(config_path, device):
    import torch
    import transformers

    fields = json.loads(pathlib.Path(config_path).read_text())
    fields.pop("architectures")
    fields.pop("torch_dtype")
    fields.pop("model_type")
    config = transformers.DeepseekV2Config(**fields)
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
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                bound = (3.0 / parameter.shape[-1]) ** 0.5
                parameter.uniform_(-bound, bound)
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default=pathlib.Path(__file__).with_name("v2_lite_config.json"))
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
    seconds, model = seconds_of(lambda: build(arguments.config, arguments.device), arguments.device)
    experts = getattr(model.config, "_experts_implementation", None)
    attention = getattr(model.config, "_attn_implementation", None)
    about = (f"{transformers.__version__}, torch {torch.__version__}, attention {attention}"
             + (f", experts {experts}" if experts else ""))
    print(f"{about}; model made in {seconds:.1f} s")
    vocab_size = model.config.vocab_size
    rows = []

    def measure(name, tokens, call):
        found = call()
        rows.append({"name": name, "seconds": found, "tokens_per_second": tokens / found})
        print(f"{name}: {found * 1e3:.2f} ms, {tokens / found:.1f} tokens/s", flush=True)
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")

    with torch.inference_mode():
        for batch in (1, 64):
            measure(f"decode, batch {batch}", batch,
                    lambda: decode_seconds(model, batch, vocab_size, arguments.device))
        measure(f"prefill of {PREFILL} tokens", PREFILL,
                lambda: prefill_seconds(model, vocab_size, arguments.device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
