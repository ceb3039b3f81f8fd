"""Compares the shipped checkpoints with transformers' own DeepSeek-V3, MTP layer aside.

    python check_transformers.py arith-bf16 arith-fp8

transformers runs in float32, an FP8 checkpoint dequantised.
"""

import argparse
import json
import pathlib
import tempfile

import tokenizers
import torch
import transformers
from safetensors.torch import save_file

import chat
import checkpoint
import model as models
import problems


def native(config: dict, model: models.DeepseekV3) -> transformers.PreTrainedModel:
    beyond = f"model.layers.{config['num_hidden_layers']}."
    state = {name: value.contiguous() for name, value in model.state_dict().items() if not name.startswith(beyond)}
    config = {key: value for key, value in config.items() if key not in ("quantization_config", "torch_dtype")}
    with tempfile.TemporaryDirectory() as directory:
        (pathlib.Path(directory) / "config.json").write_text(json.dumps(config))
        save_file(state, pathlib.Path(directory) / "model.safetensors", metadata={"format": "pt"})
        loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return loaded.eval()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for directory in arguments.models:
        ours = checkpoint.load(directory)
        theirs = native(json.loads((directory / "config.json").read_text()), ours)
        tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        turns = [problems.Turn("What is 47 + 85?", "We add 47+85.", "47 + 85 = 132")] * 8
        text = chat.prompt("7加5等于多少？", "".join(chat.past_turn(turn, False) for turn in turns))
        ids = torch.tensor([chat.encode(tokenizer, text)])
        logits = ours.lm_head(ours.hidden_states(ids)[0])
        difference = (logits - theirs(ids, use_cache=False).logits).abs().max().item()
        spread = (logits.max() - logits.min()).item()
        print(f"{directory.name}: {ids.shape[1]} positions, largest difference {difference:.1e} of a range of {spread:.1f}")


if __name__ == "__main__":
    main()
