"""Trains the byte-level BPE of the demo model and writes tokenizer.json and tokenizer_config.json.

The pre-tokenizer and the special tokens are those of DeepSeek-V3; the vocabulary is small.
"""

import argparse
import json
import pathlib
import random
import re

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

import problems

VOCAB_SIZE = 768
HEAD_TOKENS = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
TAIL_TOKENS = [
    "<think>", "</think>", "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>",
    "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁sep｜>",
]
SPECIAL = set(HEAD_TOKENS) | {"<|EOT|>"}

SPLIT_PATTERNS = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]

CHAT_TEMPLATE = pathlib.Path(__file__).resolve().parents[1] / "reference" / "chat_templates" / "r1_style.jinja"


def corpus(rng: random.Random, count: int) -> list[str]:
    """Texts of the task with every digit standing alone, so that no merge ever joins two digits."""
    texts = []
    for _ in range(count):
        turn = problems.training_turn(rng)
        texts += [re.sub(r"(?<=\d)(?=\d)", " ", text) for text in turn_texts(turn)]
    return texts + problems.SYSTEM_PROMPTS * (count // 100)


def turn_texts(turn: problems.Turn) -> tuple[str, str, str]:
    return turn.question, f"{turn.reasoning}\n", f"\n{turn.answer}"


def pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    splits = [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in SPLIT_PATTERNS]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def added_token(content: str, token_id: int) -> dict:
    return {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": content not in SPECIAL, "special": content in SPECIAL}


def train(texts: list[str]) -> dict:
    """The contents of tokenizer.json: head tokens, bytes and merges, place holders, tail tokens."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizer()
    budget = VOCAB_SIZE - len(HEAD_TOKENS) - len(TAIL_TOKENS)
    trained.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=budget, min_frequency=2, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    description = json.loads(trained.to_str())
    learned = sorted(description["model"]["vocab"].items(), key=lambda item: item[1])
    vocab = {token: i for i, token in enumerate([*HEAD_TOKENS, *(token for token, _ in learned)])}
    place_holders = [f"<｜place▁holder▁no▁{i}｜>" for i in range(budget - len(learned))]
    added = [added_token(token, i) for i, token in enumerate(HEAD_TOKENS)]
    added += [added_token(token, len(vocab) + i) for i, token in enumerate([*place_holders, *TAIL_TOKENS])]
    description["added_tokens"] = added
    description["model"]["vocab"] = vocab
    description["model"]["merges"] = [" ".join(pair) for pair in description["model"]["merges"]]
    description["normalizer"] = {"type": "Sequence", "normalizers": []}
    description["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    description["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False,
                                     "use_regex": True}
    return description


def config() -> dict:
    def token(content: str) -> dict:
        return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": True, "rstrip": False,
                "single_word": False}

    bos, eos, _ = HEAD_TOKENS
    return {"add_bos_token": True, "add_eos_token": False, "bos_token": token(bos),
            "clean_up_tokenization_spaces": False, "eos_token": token(eos), "legacy": True, "model_max_length": 512,
            "pad_token": token(eos), "sp_model_kwargs": {}, "unk_token": None,
            "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE.read_text(encoding="utf-8")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    description = train(corpus(random.Random(arguments.seed), 20000))
    text = json.dumps(description, ensure_ascii=False, indent=1)
    (arguments.out / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    text = json.dumps(config(), ensure_ascii=False, indent=2)
    (arguments.out / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    kinds = [token["content"] for token in description["added_tokens"] if "place▁holder" in token["content"]]
    print(f"vocabulary {VOCAB_SIZE}, merges {len(description['model']['merges'])}, place holders {len(kinds)}")


if __name__ == "__main__":
    main()
