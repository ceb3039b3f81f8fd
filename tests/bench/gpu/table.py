#!/usr/bin/env python3
"""table.py DIR: the results of tests/bench/gpu.sh as one table, how each stage ended, and which bars are met."""

import json
import pathlib
import sys

import bars

WIDTH = 61  # of names


def load(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def duration(seconds):
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def line(row, others):
    if "error" in row:
        return f"{row['name']:<{WIDTH}} FAILED: {row['error'][:90]}"
    cells = [f"{row['name']:<{WIDTH}}", f"{duration(row['seconds']):>10}"]
    for work, fraction in (("bytes", "of_bandwidth"), ("flops", "of_matrix_rate")):
        cells.append(f"{row[fraction]:>9.2f}" if row[work] > 0 and row[fraction] > 0 else " " * 9)
    tokens = row.get("tokens_per_second")
    cells.append(f"{tokens:>11.1f}" if tokens else " " * 11)
    other = others.get(row["name"])
    cells.append(f"{tokens / other:>8.2f} x" if tokens and other else " " * 10)
    cells.append(f"UNVERIFIED: {row['unverified'][:90]}" if row["unverified"] else row["note"])
    return " ".join(cells).rstrip()


def print_rows(ops, model, transformers):
    others = {row["name"]: row["tokens_per_second"] for row in transformers.get("rows", [])}
    for name, found in (("ops", ops), ("model", model)):
        if "limits" in found:
            limits = found["limits"]
            print(
                f"limits while {name} ran: copies {limits['copy_bytes_per_second'] / 1e9:.0f} GB/s, products of 8192^3 "
                f"{limits['bf16_flops_per_second'] / 1e12:.0f} TFLOP/s BF16, "
                f"{limits['fp8_flops_per_second'] / 1e12:.0f} FP8")
    rows = ops.get("rows", []) + model.get("rows", [])
    if rows:
        print(f"{'':<{WIDTH}} {'':>10} {'of':>9} {'of matrix':>9}")
        print(f"{'median':<{WIDTH}} {'time':>10} {'bandwidth':>9} {'rate':>9} {'tokens/s':>11} {'to HF':>10}")
    for row in rows:
        print(line(row, others))
    compared = transformers.get("logits", [])
    said = "" if compared and all(found["agrees"] for found in compared) else (
        "other logits" if compared else "logits not compared")
    for row in transformers.get("rows", []):
        print(f"{'transformers: ' + row['name']:<{WIDTH}} {duration(row['seconds']):>10} {'':>9} {'':>9} "
              f"{row['tokens_per_second']:>11.1f} {'':>10} {said}".rstrip())
    for found in compared:
        print(f"{'transformers: logits, ' + found['name'] + ' of ' + str(found['tokens']) + ' tokens':<{WIDTH}} "
              f"differ by {found['difference']:.1e} of their range"
              f"{'' if found['agrees'] else ', TOO MUCH'}; the likeliest token is "
              f"{'the same' if found['same_token'] else 'another'}")
    if "about" in transformers:
        print(f"transformers: {transformers['about']}")


def print_properties(results):
    """What tests recorded, the numbers of one test beside each other."""
    recorded = {}
    for stage in ("tests", "models"):
        for entry in load(results / f"{stage}.json").get("tests", []):
            suite = entry["test"].rpartition("/")[0] or entry["test"]
            for name, value in entry["properties"].items():
                recorded.setdefault((suite.rpartition(".")[2], name), []).append(str(value))
    for (test, name), values in recorded.items():
        print(f"{test}: {name} {', '.join(values)}")


def print_clocks(results):
    """Of the samples with at least half of the power of the one with most."""
    samples = []
    try:
        for sample in (results / "clocks.csv").read_text().splitlines():
            _, clock, power, reasons = sample.split(", ")
            samples.append((float(power), float(clock), reasons))
    except (OSError, ValueError):
        pass
    if not samples:
        return
    most = max(samples)[0]
    busy = [sample for sample in samples if sample[0] >= most / 2]
    clocks = sorted(clock for _, clock, _ in busy)
    print(f"clocks: {clocks[0]:.0f} to {clocks[-1]:.0f} MHz, median {clocks[len(clocks) // 2]:.0f}, in {len(busy)} of "
          f"{len(samples)} samples; {most:.0f} W at most; reasons {', '.join(sorted({sample[2] for sample in busy}))}")


def print_stages(results):
    try:
        stages = (results / "stages.tsv").read_text().splitlines()
    except OSError:
        stages = []
    for stage in stages:
        name, state, seconds, said = (stage.split("\t") + [""] * 4)[:4]
        print(f"{name:<14} {state:<16} {seconds:>4} s  {said}")


def main():
    results = pathlib.Path(sys.argv[1])
    ops, model = load(results / "ops.json"), load(results / "model.json")
    print()
    print_rows(ops, model, load(results / "transformers.json"))
    print()
    print_properties(results)
    print_clocks(results)
    print()
    print_stages(results)
    print()
    for said in bars.judge(ops.get("rows", []) + model.get("rows", [])):
        print(said)


if __name__ == "__main__":
    main()
