#!/usr/bin/env python3
"""table.py DIR: the results of tests/bench/gpu.sh as one table, and how each stage ended."""

import json
import pathlib
import sys


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
    is_limited = row["bytes"] > 0 or row["flops"] > 0
    cells.append(f"{row['fraction_of_limit']:>8.2f}" if is_limited else " " * 8)
    tokens = row.get("tokens_per_second")
    cells.append(f"{tokens:>11.1f}" if tokens else " " * 11)
    other = others.get(row["name"])
    cells.append(f"{tokens / other:>8.2f} x" if tokens and other else " " * 10)
    cells.append(row.get("note", ""))
    return " ".join(cells).rstrip()


def main():
    results = pathlib.Path(sys.argv[1])
    ops, model = load(results / "ops.json"), load(results / "model.json")
    transformers = load(results / "transformers.json")
    others = {row["name"]: row["tokens_per_second"] for row in transformers.get("rows", [])}
    print()
    for name, found in (("ops", ops), ("model", model)):
        if "limits" in found:
            limits = found["limits"]
            print(
                f"limits while {name} ran: copies {limits['copy_bytes_per_second'] / 1e9:.0f} GB/s, products of 8192^3 "
                f"{limits['bf16_flops_per_second'] / 1e12:.0f} TFLOP/s BF16, "
                f"{limits['fp8_flops_per_second'] / 1e12:.0f} FP8")
    rows = ops.get("rows", []) + model.get("rows", [])
    if rows:
        print(f"{'median':<{WIDTH}} {'time':>10} {'of limit':>8} {'tokens/s':>11} {'to HF':>10}")
    for row in rows:
        print(line(row, others))
    for row in transformers.get("rows", []):
        print(f"{'transformers: ' + row['name']:<{WIDTH}} {duration(row['seconds']):>10} {'':>8} "
              f"{row['tokens_per_second']:>11.1f}")
    if "about" in transformers:
        print(f"transformers: {transformers['about']}")
    print()
    try:
        stages = (results / "stages.tsv").read_text().splitlines()
    except OSError:
        stages = []
    for stage in stages:
        name, state, seconds, said = (stage.split("\t") + [""] * 4)[:4]
        print(f"{name:<14} {state:<16} {seconds:>4} s  {said}")


if __name__ == "__main__":
    main()
