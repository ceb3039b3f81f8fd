"""Writes heldout.jsonl (every question kept out of training, with the right integer) and prompts.txt (50 for demos)."""

import json
import pathlib
import random

import problems

HERE = pathlib.Path(__file__).resolve().parent
SEED = 11
PROMPTS_FROM = 1000
PROMPTS_PER_LANGUAGE = 25


def main() -> None:
    rng = random.Random(SEED)
    cases = [(problems.question(rng, problem), problem) for problem in problems.heldout_problems()]
    rng.shuffle(cases)
    with (HERE / "heldout.jsonl").open("w", encoding="utf-8") as file:
        for question, problem in cases:
            row = {"question": question, "answer": problem.result, "operation": problem.op, "language": problem.lang}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    rest = cases[PROMPTS_FROM:]
    prompts = [question for lang in ("en", "zh")
               for question in [asked for asked, problem in rest if problem.lang == lang][:PROMPTS_PER_LANGUAGE]]
    (HERE / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
