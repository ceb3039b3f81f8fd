"""Turns trained float32 weights into the two shipped checkpoints.

    python export.py --trained OUT --to .

writes arith-bf16/ and arith-fp8/ under the target directory. FP8 is quantised from the float32 weights.
"""

import argparse
import json
import pathlib
import shutil

from safetensors.torch import load_file

import checkpoint

GENERATION = {"bos_token_id": 0, "do_sample": False, "eos_token_id": 1, "pad_token_id": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=pathlib.Path, required=True)
    parser.add_argument("--to", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    config = json.loads((arguments.trained / "config.json").read_text())
    state = load_file(arguments.trained / "trained.safetensors")
    for name, fp8 in (("arith-bf16", False), ("arith-fp8", True)):
        directory = arguments.to / name
        checkpoint.save(directory, config, state, fp8)
        (directory / "generation_config.json").write_text(json.dumps(GENERATION, indent=2) + "\n")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(arguments.trained / file, directory / file)
        print(f"{name}: {sum(file.stat().st_size for file in directory.iterdir())} bytes")


if __name__ == "__main__":
    main()
