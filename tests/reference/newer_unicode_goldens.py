"""Writes the ids that Hugging Face `tokenizers` gives for characters newer than Unicode 14.

    python newer_unicode_goldens.py --v3 tokenizer.json[.gz] --v2 tokenizer.json[.gz]

Characters are those of engine/text/unicode_delta.inc: the ends of every range, in contexts where their category decides
how the text is cut. The output is gzip'd JSON lines: {"text": string, "v3": [ids], "v2": [ids]}.
"""

import argparse
import gzip
import json
import pathlib
import re

import tokenizers

from tokenizer_goldens import HERE, load

DELTA = HERE.parent.parent / "engine" / "text" / "unicode_delta.inc"
CONTEXTS = ("a{0}1 {0}b", "{0}{0} !{0}\n", "12{0}34中{0}", " {0}'s{0}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--v3", type=pathlib.Path, required=True)
    parser.add_argument("--v2", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    columns: dict[str, tokenizers.Tokenizer] = {"v3": load(arguments.v3), "v2": load(arguments.v2)}
    ends = re.findall(r"\{0x(\w+), 0x(\w+),", DELTA.read_text(encoding="utf-8"))
    characters = sorted({chr(int(end, 16)) for pair in ends for end in pair})
    texts = [context.format(character) for character in characters for context in CONTEXTS]
    lines = [json.dumps({"text": text, **{name: column.encode(text, add_special_tokens=False).ids
                                          for name, column in columns.items()}},
                        ensure_ascii=False, separators=(",", ":")) for text in texts]
    packed = gzip.compress(("\n".join(lines) + "\n").encode("utf-8"), mtime=0)
    (HERE / "tokenizer_goldens" / "newer_unicode.jsonl.gz").write_bytes(packed)
    print(f"{len(lines)} strings, {len(packed)} bytes")


if __name__ == "__main__":
    main()
