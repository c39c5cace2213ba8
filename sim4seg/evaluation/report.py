"""The results as people read them: a Markdown table like the paper's, and a CSV for ``dvc plots``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from sim4seg.evaluation.cases import MODES
from sim4seg.evaluation.lesion_and_empty import FIGURES as LESION_AND_EMPTY
from sim4seg.evaluation.proof import CONTROL_TITLES, FIGURE_TITLES, gain_with_interval, unproven_sentences
from sim4seg.evaluation.summary import FIGURES, Table

HEADINGS = {"giou": "gIoU", "ciou": "cIoU", "dice": "Dice", "acc": "Acc"}
TITLES = {
    "single": "single answer",
    "tts": "test-time scaling, label-free choice",
    "tts_oracle": "test-time scaling, oracle's choice (sees the truth)",
    "centre_prior": "baseline: centre prior",
    "dataset_prior": "baseline: each dataset's mean mask",
    "majority_label": "baseline: majority label",
}


def _tables(metrics: Mapping[str, Any]) -> dict[str, Table]:
    return {**{mode: metrics[mode] for mode in MODES}, **metrics["baselines"]}


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _mean_table(metrics: Mapping[str, Any]) -> list[str]:
    lines = [_row(["setting", *HEADINGS.values()]), _row(["---", *["---:"] * len(FIGURES)])]
    for name, table in _tables(metrics).items():
        cells = []
        for figure in FIGURES:
            cell = _percent(table["mean"].get(figure))
            interval = metrics["confidence"].get(name, {}).get(figure)
            if interval:
                cell += f" [{_percent(interval['low'])}, {_percent(interval['high'])}]"
            cells.append(cell)
        lines.append(_row([TITLES[name], *cells]))
    return lines


def _dataset_table(metrics: Mapping[str, Any]) -> list[str]:
    tables = _tables(metrics)
    datasets = [*sorted(set(metrics["single"]) - {"mean"}), "mean"]
    lines = [_row(["dataset", "n", *tables]), _row(["---", "---:", *["---:"] * len(tables)])]
    for dataset in datasets:
        cells = [" / ".join(_percent(table[dataset].get(figure)) for figure in FIGURES) for table in tables.values()]
        lines.append(_row([dataset, str(metrics["single"][dataset]["n"]), *cells]))
    return lines


def _lesion_and_empty_table(metrics: Mapping[str, Any]) -> list[str]:
    tables = metrics["lesion_and_empty"]
    datasets = [*sorted(set(tables["single"]) - {"mean"}), "mean"]
    lines = [_row(["dataset", "lesion", "empty", *tables]), _row(["---", "---:", "---:", *["---:"] * len(tables)])]
    for dataset in datasets:
        cells = [
            " / ".join(_percent(table[dataset].get(name)) for name in LESION_AND_EMPTY) for table in tables.values()
        ]
        counts = [str(tables["single"][dataset][name]) for name in ("n_lesion", "n_empty")]
        lines.append(_row([dataset, *counts, *cells]))
    return lines


def _controls_table(metrics: Mapping[str, Any], figure: str) -> list[str]:
    """What the model is ahead of each control, by dataset; nothing where no control has the figure."""
    tables = {name: table for name, table in metrics["controls"].items() if figure in table["mean"]}
    if not tables:
        return []
    datasets = [*sorted({key for table in tables.values() for key in table} - {"mean"}), "mean"]
    lines = [_row(["dataset", *(CONTROL_TITLES[name] for name in tables)]), _row(["---", *["---:"] * len(tables)])]
    for dataset in datasets:
        gains = [table.get(dataset, {}).get(figure) for table in tables.values()]
        lines.append(_row([dataset, *("–" if gain is None else gain_with_interval(gain) for gain in gains)]))
    return ["", f"{FIGURE_TITLES[figure]}, the model less the control:", "", *lines]


def _controls_section(metrics: Mapping[str, Any]) -> list[str]:
    sentences = unproven_sentences(metrics["controls"])
    return [
        "## Controls: does it look?",
        "",
        "The same cases, answered with something taken away; times 100, with the 95 % interval of the difference. The",
        "model has to be ahead of a blank image, another case's image, the mean masks and the majority label in every",
        "dataset; the other controls say what it uses. Where it is not, or the cases are too few to tell:",
        "",
        *([f"- {sentence}" for sentence in sentences] or ["- nowhere"]),
        *(line for figure in FIGURE_TITLES for line in _controls_table(metrics, figure)),
    ]


def results_markdown(metrics: Mapping[str, Any]) -> str:
    """The tables of results.md, times 100: means with 95 % intervals, by dataset, lesion and empty cases apart."""
    lines = [
        "# Results on the test split",
        "",
        "Free-running: no answer token is fed to the model. Means are unweighted over the datasets; in brackets the",
        "95 % bootstrap interval. `tts_oracle` picks with the truth in hand, as the paper does: an upper bound.",
        "",
        *_mean_table(metrics),
        "",
        "## By dataset (gIoU / cIoU / Dice / Acc)",
        "",
        *_dataset_table(metrics),
        "",
        "## Lesion and empty cases apart (gIoU / Dice of cases with a lesion / false positives / balanced accuracy)",
        "",
        "False positives: the share of cases without a lesion in which something was marked. Balanced accuracy: the",
        "mean over the labels of how often each is diagnosed right. First the numbers of cases with and without one.",
        "",
        *_lesion_and_empty_table(metrics),
        "",
        *_controls_section(metrics),
    ]
    return "\n".join(lines) + "\n"


def per_dataset_csv(metrics: Mapping[str, Any]) -> str:
    """One row a dataset: the single answer's figures under their own names, the other settings' with a prefix."""
    prefixes = {name: "" if name == "single" else f"{name}_" for name in _tables(metrics)}
    rows = []
    for dataset in sorted(set(metrics["single"]) - {"mean"}):
        row: dict[str, Any] = {"dataset": dataset, "n": metrics["single"][dataset]["n"]}
        for name, table in _tables(metrics).items():
            row |= {f"{prefixes[name]}{key}": table[dataset][key] for key in FIGURES if key in table[dataset]}
        rows.append(row)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
