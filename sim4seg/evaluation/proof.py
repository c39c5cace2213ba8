"""Where a model's figures do not show that it looks at the image, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MASKS, DIAGNOSES = "giou_lesion", "balanced_acc"
FIGURE_TITLES = {MASKS: "IoU of cases with a lesion", DIAGNOSES: "balanced accuracy"}
MUST_LOSE = {
    "blank": (MASKS, DIAGNOSES),
    "other_image": (MASKS, DIAGNOSES),
    "centre_prior": (MASKS,),
    "dataset_prior": (MASKS,),
    "majority_label": (DIAGNOSES,),
}
"""What a model must beat in every dataset to have shown that it looks, and in which figures.

The other controls say how it answers: a dataset with one target can be answered without its question, and a rectangle
in place of a lesion shows where it was."""
CONTROL_TITLES = {
    "blank": "a blank image",
    "other_image": "another case's image",
    "lesion_out": "the lesion covered",
    "other_question": "another dataset's question",
    "shuffled_similarity": "shuffled similarities",
    "centre_prior": "the centre prior",
    "dataset_prior": "the dataset's mean mask",
    "majority_label": "the majority label",
}

Controls = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""By name of the control, its :func:`sim4seg.evaluation.gains.gains`; ``controls`` of metrics.json."""


class Unproven(NamedTuple):
    """A dataset in which the model is not certainly better than a control in a figure."""

    dataset: str
    figure: str
    control: str
    gain: Mapping[str, Any]


def unproven(controls: Controls) -> list[Unproven]:
    """Where the interval of a gain over a control that must lose does not lie above 0, dataset by dataset."""
    found = []
    for control, figures in MUST_LOSE.items():
        table = controls.get(control, {})
        for dataset in sorted(set(table) - {"mean"}):
            for figure in figures:
                gain = table[dataset].get(figure)
                if gain is not None and not gain["low"] > 0:
                    found.append(Unproven(dataset, figure, control, gain))
    return sorted(found, key=lambda one: (one.dataset, one.figure != MASKS))


def unproven_sentences(controls: Controls) -> list[str]:
    """A sentence for each dataset and figure in which the model is not certainly better than a control."""
    by_place: dict[tuple[str, str], list[str]] = {}
    for one in unproven(controls):
        words = f"{CONTROL_TITLES[one.control]} ({gain_with_interval(one.gain)})"
        by_place.setdefault((one.dataset, one.figure), []).append(words)
    return [
        f"{dataset}: {FIGURE_TITLES[figure]} is not shown to be better than with {', '.join(than)}"
        for (dataset, figure), than in by_place.items()
    ]


def gain_with_interval(gain: Mapping[str, Any]) -> str:
    """A gain times 100 and its interval."""
    return f"{100 * gain['gain']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"
