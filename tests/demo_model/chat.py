"""Conversations as token ids: the R1 chat format, and the samples the training reads."""

import dataclasses
import random

import tokenizers

import problems

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
END_OF_THOUGHT = "</think>"


@dataclasses.dataclass(frozen=True)
class Sample:
    """Token ids; the loss counts predictions of ids[prompt_length:]."""

    ids: list[int]
    prompt_length: int


def prompt(question: str, history: str = "", system: str = "") -> str:
    return f"{BOS}{system}{history}{USER}{question}{ASSISTANT}<think>\n"


def completion(turn: problems.Turn) -> str:
    return f"{turn.reasoning}\n{END_OF_THOUGHT}\n{turn.answer}{EOS}"


def past_turn(turn: problems.Turn, leading_newline: bool) -> str:
    """A finished turn as the chat template shows it: without its reasoning."""
    return f"{USER}{turn.question}{ASSISTANT}{chr(10) * leading_newline}{turn.answer}{EOS}"


def encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def training_sample(rng: random.Random, tokenizer: tokenizers.Tokenizer, close_share: float) -> Sample:
    """One question, sometimes after a system prompt, sometimes after one to six earlier turns."""
    system = rng.choice(problems.SYSTEM_PROMPTS) if rng.random() < 0.05 else ""
    earlier = rng.choice((1, 1, 2, 3, 6)) if rng.random() < 0.08 else 0
    newline = rng.random() < 0.5
    history = "".join(past_turn(problems.training_turn(rng), newline) for _ in range(earlier))
    turn = problems.training_turn(rng, close_share)
    before = encode(tokenizer, prompt(turn.question, history, system))
    return Sample(before + encode(tokenizer, completion(turn)), len(before))
