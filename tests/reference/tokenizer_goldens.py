"""Writes the ids that Hugging Face `tokenizers` gives for some thousands of strings, under two tokenizers.

    python tokenizer_goldens.py --v3 tokenizer.json[.gz] --demo ../demo_model/arith-bf16/tokenizer.json

The output is gzip'd JSON lines: {"text": string, "v3": [ids], "demo": [ids]}. Added tokens that occur in a text are
recognised, no BOS is put in front. Characters newer than the Unicode tables of the running Python are left out, so
that the goldens do not depend on which Unicode version a regex library has.
"""

import argparse
import gzip
import json
import pathlib

import tokenizers

import golden_strings

HERE = pathlib.Path(__file__).resolve().parent


def load(path: pathlib.Path) -> tokenizers.Tokenizer:
    raw = path.read_bytes()
    return tokenizers.Tokenizer.from_str((gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8"))


def added_tokens(tokenizer: tokenizers.Tokenizer) -> list[str]:
    return [token.content for _, token in sorted(tokenizer.get_added_tokens_decoder().items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--v3", type=pathlib.Path, required=True)
    parser.add_argument("--demo", type=pathlib.Path, help="left out: no \"demo\" ids")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "tokenizer_goldens" / "goldens.jsonl.gz")
    arguments = parser.parse_args()
    columns = {"v3": load(arguments.v3)}
    if arguments.demo:
        columns["demo"] = load(arguments.demo)
    tokens = dict.fromkeys(token for tokenizer in columns.values() for token in added_tokens(tokenizer))
    lines = []
    for text in golden_strings.build(arguments.seed, list(tokens)):
        ids = {name: tokenizer.encode(text, add_special_tokens=False).ids for name, tokenizer in columns.items()}
        lines.append(json.dumps({"text": text, **ids}, ensure_ascii=False, separators=(",", ":")))
    packed = gzip.compress(("\n".join(lines) + "\n").encode("utf-8"), mtime=0)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(packed)
    print(f"{len(lines)} strings, {len(packed)} bytes")


if __name__ == "__main__":
    main()
