"""Greedy accuracy of a demo checkpoint on the held-out problems.

    python evaluate.py arith-bf16
"""

import argparse
import collections
import json
import pathlib
import random
import re

import tokenizers
import torch

import chat
import checkpoint
import model as models
import problems

MAX_TOKENS = 96


@torch.no_grad()
def generate(model: models.DeepseekV3, prompts: list[list[int]], eos: int) -> list[list[int]]:
    """Greedy continuations of prompts of one and the same length, each cut before its first end of sentence."""
    ids, cache, steps = torch.tensor(prompts), None, []
    finished = torch.zeros(len(prompts), dtype=torch.bool)
    while len(steps) < MAX_TOKENS and not finished.all():
        hidden, cache = model.hidden_states(ids, cache)
        ids = model.lm_head(hidden[:, -1]).argmax(-1, keepdim=True)
        steps.append(ids)
        finished |= ids[:, 0] == eos
    rows = torch.cat(steps, 1).tolist()
    return [row[:row.index(eos)] if eos in row else row for row in rows]


def replies(model: models.DeepseekV3, tokenizer: tokenizers.Tokenizer, questions: list[str]) -> list[str]:
    """The text the model writes after each question, reasoning included."""
    by_length = collections.defaultdict(list)
    for index, question in enumerate(questions):
        ids = chat.encode(tokenizer, chat.prompt(question))
        by_length[len(ids)].append((index, ids))
    texts = [""] * len(questions)
    for group in by_length.values():
        outputs = generate(model, [ids for _, ids in group], tokenizer.token_to_id(chat.EOS))
        for (index, _), output in zip(group, outputs):
            texts[index] = tokenizer.decode(output, skip_special_tokens=False)
    return texts


def final_integer(text: str) -> int | None:
    """The last integer after the end of the reasoning; None without both."""
    _, found, reply = text.rpartition(chat.END_OF_THOUGHT)
    numbers = re.findall(r"-?\d+", reply)
    return int(numbers[-1]) if found and numbers else None


def accuracy(model: models.DeepseekV3, tokenizer: tokenizers.Tokenizer, cases: list[problems.Problem],
             rng: random.Random) -> float:
    """Share of cases, each asked in a phrasing drawn from rng, that end in the right number."""
    texts = replies(model, tokenizer, [problems.question(rng, case) for case in cases])
    return sum(final_integer(text) == case.result for text, case in zip(texts, cases)) / len(cases)


@torch.no_grad()
def mtp_acceptance(model: models.DeepseekV3, tokenizer: tokenizers.Tokenizer, texts: list[str]) -> float:
    """Share of greedy tokens that the MTP layer drafts one step ahead, over `prompt + reply` texts."""
    agreed = total = 0
    for text in texts:
        ids = torch.tensor([chat.encode(tokenizer, text)])
        hidden, _ = model.hidden_states(ids)
        start = (ids[0] == tokenizer.token_to_id("<think>")).nonzero()[0, 0].item()
        main = model.lm_head(hidden[:, 1:]).argmax(-1)[0, start:]
        drafted = model.lm_head(model.mtp_states(hidden, ids)).argmax(-1)[0, start:]
        agreed += (main == drafted).sum().item()
        total += len(main)
    return agreed / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=7, help="draws the phrasing of each question")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = checkpoint.load(arguments.model)
    tokenizer = tokenizers.Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    rng = random.Random(arguments.seed)
    cases = problems.heldout_problems()
    questions = [problems.question(rng, case) for case in cases]
    texts = replies(model, tokenizer, questions)
    counts = collections.Counter()
    for case, question, text in zip(cases, questions, texts):
        right = final_integer(text) == case.result
        counts[case.op, case.lang, right] += 1
        if not right:
            print(json.dumps({"question": question, "expected": case.result, "reply": text}, ensure_ascii=False))
    for op in (problems.ADD, problems.SUB):
        for lang in ("en", "zh"):
            right, wrong = counts[op, lang, True], counts[op, lang, False]
            print(f"{op} {lang}: {right}/{right + wrong}")
    right = sum(count for (_, _, good), count in counts.items() if good)
    print(f"all: {right}/{len(cases)} = {right / len(cases):.4f}")
    spoken = [chat.prompt(question) + text for question, text in zip(questions[:200], texts[:200])]
    print(f"tokens drafted rightly by the MTP layer: {mtp_acceptance(model, tokenizer, spoken):.4f}")


if __name__ == "__main__":
    main()
