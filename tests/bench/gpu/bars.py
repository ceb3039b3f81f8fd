"""Which of the bars that the CUDA backend is to reach are met by what gpu_bench found."""

import dataclasses

MODEL_CHECKS = ("model: 2 layers as on the CPU", "model: batches as single sequences")


@dataclasses.dataclass
class Bar:
    case: str  # of gpu_bench
    least: dict  # of what gpu_bench calls of_bandwidth or of_matrix_rate; one is enough
    checks: tuple = ()  # cases that show that the result is right


BARS = (
    Bar("decode, batch 1", {"of_bandwidth": 0.5}, MODEL_CHECKS),
    Bar("decode, batch 64", {"of_bandwidth": 0.5}, MODEL_CHECKS),
    Bar("prefill of 4096 tokens", {"of_matrix_rate": 0.4}, (*MODEL_CHECKS, "model: prefill as without warpgroups")),
    Bar("MLA decode, 128 heads, batch 128 x 4096", {"of_bandwidth": 0.7, "of_matrix_rate": 0.5}),
    Bar("experts V3 fp8 x fp8, 4096 rows", {"of_matrix_rate": 0.5}),
)
MEMORY_CASE = "model: device memory as planned"
MEMORY_TOLERANCE = 0.05


def judge(rows):
    """A line for each bar."""
    found = {row["name"]: row for row in rows}

    def is_right(name):
        return name in found and "error" not in found[name] and not found[name]["unverified"]

    lines = []
    for bar in BARS:
        row = found.get(bar.case)
        if row is None or "error" in row:
            lines.append(f"bar: {bar.case}: not measured")
            continue
        figures = " or ".join(f"{row[name]:.3f} {name.replace('_', ' ')} (at least {least})"
                              for name, least in bar.least.items())
        verdict = "met" if any(row[name] >= least for name, least in bar.least.items()) else "NOT MET"
        wrong = [name for name in (bar.case, *bar.checks) if not is_right(name)]
        if wrong:
            verdict += f", unverified: {', '.join(wrong)}"
        lines.append(f"bar: {bar.case}: {figures}: {verdict}")
    memory = found.get(MEMORY_CASE, {})
    if memory.get("of_plan", 0) > 0:
        verdict = "met" if abs(memory["of_plan"] - 1) <= MEMORY_TOLERANCE else "NOT MET"
        lines.append(f"bar: device memory: {memory['of_plan']:.3f} of the plan (within {MEMORY_TOLERANCE}): {verdict}")
    else:
        lines.append("bar: device memory: not measured")
    return lines
