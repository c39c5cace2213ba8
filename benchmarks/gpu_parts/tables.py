"""The figures as Markdown, for docs/gpu.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import mean
from typing import Any

Json = dict[str, Any]
TERA, GIGA = 1e12, 1e9
EPOCH_SAMPLES, EPOCH_STEPS = 640_000, 4_000
"""Samples and optimizer steps of the paper's run (infra/train/params/1gpu.yaml)."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, numbers to the right."""
    names = list(head)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables(results: Json) -> str:
    """All parts that were run."""
    makers = {"environment": _environment, "suite": _suite, "paper": _paper, "bytes": _bytes, "learn": _learn}
    parts = []
    for part, make in makers.items():
        if part in results:
            result = results[part]
            state = "" if result["ended"] == "done" else f"*{result['ended']}*\n\n"
            parts.append(f"### {part}\n\n{state}" + make(result["found"]))
    return "\n\n".join(parts)


def _environment(figures: Json) -> str:
    card = figures.get("card", {})
    names = ", ".join(f"{name} {version}" for name, version in figures.get("packages", {}).items() if version)
    return (
        f"{card.get('name') or 'no GPU'}, driver {card.get('driver') or 'none'}, {figures.get('cores')} cores, Python "
        f"{figures.get('python')}, {names}; commit {figures.get('commit')}"
    )


def _suite(figures: Json) -> str:
    unhappy = [f"{kind}: {', '.join(figures[kind])}" for kind in ("failure", "error", "skipped") if figures.get(kind)]
    return f"{figures.get('tests', 0)} tests" + ("; " + "; ".join(unhappy) if unhappy else ", all passed")


def _broken(figure: Any) -> bool:
    return not isinstance(figure, dict) or "error" in figure


def _paper(figures: Json) -> str:
    parts = [_passes(figures), _shares(figures), _operations(figures), _answers(figures), _embedding(figures)]
    return "\n\n".join(part for part in parts if part)


def _passes(figures: Json) -> str:
    peak, plan = figures.get("matrix product, operations a second"), figures.get("plan", {})
    plan = {} if _broken(plan) else plan
    rows = []
    for name, figure in figures.items():
        if not name.startswith("pass "):
            continue
        samples, mode = name.removeprefix("pass ").split(" ")
        if _broken(figure):
            rows.append([f"{samples}, {mode}", str(figure)[-60:].replace("\n", " "), *[""] * 5])
            continue
        seconds = figure["seconds"]["median"]
        rate = plan["operations"][mode] * int(samples) / seconds if plan else 0.0
        share = f"{100 * rate / peak:.1f} %" if isinstance(peak, float) else ""
        planned = plan.get("peak", {}).get(f"{samples} {mode}")
        rows.append(
            [
                f"{samples}, {mode}",
                f"{seconds:.4f}",
                f"{int(samples) / seconds:.2f}",
                f"{rate / TERA:.1f}",
                share,
                f"{figure['peak'] / GIGA:.2f}" if "peak" in figure else "",
                f"{planned / GIGA:.2f}" if planned else "",
            ]
        )
    head = ["samples, activations", "s a pass", "samples/s", "TFLOP/s", "of the peak", "peak, GB", "planned, GB"]
    optimizer = figures.get("optimizer", {})
    lines = [table(head, rows), ""]
    if isinstance(peak, float):
        lines.append(f"Square bfloat16 product: {peak / TERA:.1f} TFLOP/s. ")
    if not _broken(optimizer):
        lines.append(f"Optimizer's step: {optimizer['median']:.4f} s. Built in {figures['build, seconds']:.1f} s.")
    return "\n".join(lines) + _whole_run(figures, optimizer)


def _whole_run(figures: Json, optimizer: Json) -> str:
    one = figures.get("pass 2 checkpointed")
    if _broken(one) or _broken(optimizer):
        return ""
    seconds = one["seconds"]["median"] / 2 * EPOCH_SAMPLES + optimizer["median"] * EPOCH_STEPS
    return f" The paper's run of 640,000 samples on this card alone: {seconds / 3600:.1f} h, without reading data."


def _shares(figures: Json) -> str:
    parts = figures.get("parts of a pass of 2", {"error": ""})
    if _broken(parts):
        return ""
    whole = sum(parts.values())
    rows = [[name, f"{1000 * value:.1f}", f"{100 * value / whole:.1f} %"] for name, value in parts.items()]
    return table(["part of a pass of 2, checkpointed, and a step", "ms", "share"], rows)


def _operations(figures: Json) -> str:
    rows = figures.get("operations of a pass of 2")
    if not isinstance(rows, list):
        return ""
    return table(
        ["kernel", "calls", "ms", "share"],
        (
            [f"`{row['name'][:70]}`", str(row["calls"]), f"{row['milliseconds']:.2f}", f"{100 * row['share']:.1f} %"]
            for row in rows
        ),
    )


def _answers(figures: Json) -> str:
    rows = []
    for name, figure in figures.items():
        if name.startswith("answers ") and not _broken(figure):
            kind, images = name.removeprefix("answers ").split(" ")
            values = (f"{figure['greedy']:.2f}", f"{figure['2x2']:.2f}", f"{figure['ratio']:.2f}")
            rows.append([f"{kind}, {images} at a time, {figure['tokens']} tokens", *values])
    return table(["answers", "one greedy, s", "2x2, s", "ratio"], rows) if rows else ""


def _embedding(figures: Json) -> str:
    rows = [
        [name.removeprefix("embed "), f"{figure['encoder']:.2f}", f"{figure['with pixels']:.2f}"]
        for name, figure in figures.items()
        if name.startswith("embed ") and not _broken(figure)
    ]
    return table(["SAM's encoder", "images/s", "with resizing before and storing after"], rows) if rows else ""


def _bytes(figures: Json) -> str:
    lines = []
    for name, figure in figures.items():
        if isinstance(figure, dict) and "same" in figure:
            verdict = "the same bytes" if figure["same"] else "not the same bytes"
            lines.append(f"- `{name}`, {figure['steps']} steps: {verdict}.")
            lines += [f"  - {line}" for line in figure["warnings"]]
        elif isinstance(figure, dict):
            lines.append(f"- `{name}`: {str(figure)[-200:]}")
    return "\n".join(lines)


def _runs(figures: Json) -> Iterator[Json]:
    return (run for run in figures.values() if isinstance(run, dict) and "figures" in run)


def _learn(figures: Json) -> str:
    groups: dict[tuple[str, bool], list[Json]] = {}
    for run in _runs(figures):
        groups.setdefault((run["preset"], run["region"]), []).append(run)
    if not groups:
        return "no run was scored"
    parts = [_settings(groups)]
    for mode in ("single", "tts", "tts_oracle"):
        rows = [row for key, runs in sorted(groups.items()) for row in _group_rows(key, runs, mode)]
        parts.append(f"`{mode}`\n\n" + table(["dataset, preset, RVLS2M", *COLUMNS], rows))
    baselines = next(iter(groups.values()))[0]["figures"]
    for name in ("centre_prior", "majority_label"):
        rows = [[dataset, *_cells([row])] for dataset, row in baselines[name].items()]
        parts.append(f"`{name}`\n\n" + table(["dataset", *COLUMNS], rows))
    return "\n\n".join(parts)


COLUMNS = {
    "lesions": "n_lesion",
    "gIoU": "giou_lesion",
    "empty": "n_empty",
    "false positives": "false_positive_rate",
    "Acc": "acc",
    "balanced Acc": "balanced_acc",
}
"""Columns, and the figures that they show."""


def _settings(groups: dict[tuple[str, bool], list[Json]]) -> str:
    rows = [
        [
            f"{preset}, {'with' if region else 'without'}",
            *(str(len(runs)), f"{runs[0]['epochs']:g}", str(runs[0]["steps"]), str(runs[0]["samples_a_step"])),
            f"{max(run['train_seconds'] for run in runs):.0f}",
            f"{max(run['evaluate_seconds'] for run in runs):.0f}",
        ]
        for (preset, region), runs in sorted(groups.items())
    ]
    head = ["preset, RVLS2M", "seeds", "epochs", "steps", "samples a step", "most s of training", "of evaluation"]
    return table(head, rows)


def _group_rows(key: tuple[str, bool], runs: list[Json], mode: str) -> Iterator[list[str]]:
    by_name = [run["figures"][mode] for run in runs]
    for name in by_name[0]:
        yield [f"{name}, {key[0]}, {'with' if key[1] else 'without'}", *_cells([each[name] for each in by_name])]


def _cells(seeds: list[Json]) -> list[str]:
    """One cell a column: the mean over seeds and, where there are several, the least and the most."""
    cells = []
    for figure in COLUMNS.values():
        values = [each[figure] for each in seeds if figure in each]
        if not values:
            cells.append("")
        elif figure.startswith("n_"):
            cells.append(str(values[0]))
        else:
            spread = f" ({100 * min(values):.1f} to {100 * max(values):.1f})" if len(values) > 1 else ""
            cells.append(f"{100 * mean(values):.1f}{spread}")
    return cells
