"""The promotion rules at their borders: what is just allowed, what is just refused, and by how much it says it was."""

from __future__ import annotations

from typing import Any

import pytest

from sim4seg.comparison.differences import FIGURES, Comparison, FigureDifference, Group
from sim4seg.config.register import Floors, Register
from sim4seg.errors import RegistryError
from sim4seg.registry import rules
from sim4seg.registry.tags import CHANGES, NONE

SETTINGS: dict[str, Any] = {
    "name": "sim4seg",
    "floors": Floors(giou=0.0, ciou=0.0, acc=0.0),
    "beat_baselines": True,
    "require_evidence": False,
    "margin": 0.05,
    "subgroup_margin": 0.2,
    "subgroup_min": 20,
    "require_clean_commit": False,
    "export": "",
}
EQUAL = FigureDifference(candidate=0.5, champion=0.5, difference=0.0, low=0.0, high=0.0)


def settings(**changes: Any) -> Register:
    return Register(**{**SETTINGS, **changes})


def metrics(giou: float = 0.5, ciou: float = 0.5, acc: float = 0.5, centre: float = 0.4, majority: float = 0.4) -> Any:
    return {
        "single": {"mean": {"giou": giou, "ciou": ciou, "acc": acc}},
        "tts": {"mean": {"giou": 0.0, "ciou": 0.0, "acc": 0.0}},
        "baselines": {
            "centre_prior": {"mean": {"giou": centre, "acc": 1.0}},
            "majority_label": {"mean": {"acc": majority, "giou": 1.0}},
        },
    }


def comparison(mean: dict[str, FigureDifference] | None = None, *groups: Group) -> Comparison:
    return Comparison(100, dict.fromkeys(FIGURES, EQUAL) | (mean or {}), groups)


def group(n: int, figure: str, difference: float) -> Group:
    worse = FigureDifference(0.5 + difference, 0.5, difference)
    return Group("dataset", "busi", n, dict.fromkeys(FIGURES, EQUAL) | {figure: worse})


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_at_the_floor_passes_and_one_below_is_named(figure: str) -> None:
    params = settings(floors=Floors(**{**dict.fromkeys(FIGURES, 0.0), figure: 0.5}))
    assert rules.below_floors(params, metrics()) == []
    assert rules.below_floors(params, metrics(**{figure: 0.375})) == [
        f"mean {FIGURES[figure]} 0.3750 is 0.1250 below the floor 0.5000"
    ]


def test_every_figure_below_its_floor_is_listed() -> None:
    params = settings(floors=Floors(giou=0.6, ciou=0.7, acc=0.8))
    assert rules.below_floors(params, metrics()) == [
        "mean gIoU 0.5000 is 0.1000 below the floor 0.6000",
        "mean cIoU 0.5000 is 0.2000 below the floor 0.7000",
        "mean Acc 0.5000 is 0.3000 below the floor 0.8000",
    ]


def test_a_figure_that_equals_its_baseline_does_not_beat_it() -> None:
    assert rules.not_above_baselines(metrics()) == []
    assert rules.not_above_baselines(metrics(centre=0.5, majority=0.625)) == [
        "mean gIoU 0.5000 does not beat the centre prior's 0.5000: 0.0000 short",
        "mean Acc 0.5000 does not beat the majority label's 0.6250: 0.1250 short",
    ]


def test_what_the_controls_do_not_show_is_listed_by_dataset() -> None:
    sure, unsure = ({"n": 9, "low": low, "gain": 0.2, "high": 0.4} for low in (0.1, -0.1))
    table = {"a": {"giou_lesion": sure, "balanced_acc": sure}, "b": {"giou_lesion": sure}}
    controls = dict.fromkeys(("blank", "other_image", "centre_prior", "dataset_prior", "majority_label"), table)
    assert rules.not_shown_to_look({"controls": controls}) == []
    worse = {**controls, "other_image": {**table, "b": {"giou_lesion": unsure}, "mean": {"giou_lesion": unsure}}}
    assert rules.not_shown_to_look({"controls": worse}) == [
        "b: IoU of cases with a lesion is not shown to be better than with another case's image (+20.0 [-10.0, +40.0])"
    ]
    assert rules.not_shown_to_look({"controls": {**controls, "other_question": {"a": {"giou_lesion": unsure}}}}) == []


def test_figures_without_controls_show_nothing() -> None:
    assert rules.not_shown_to_look(metrics()) == [
        "no control of a blank image, another case's image, the centre prior, the dataset's mean mask, the majority "
        "label: set evaluate.controls.cases"
    ]


@pytest.mark.parametrize("figure", FIGURES)
def test_an_interval_that_ends_at_the_margin_passes(figure: str) -> None:
    params = settings(margin=0.05)
    at_margin = FigureDifference(0.47, 0.5, -0.03, low=-0.05, high=0.01)
    beyond = FigureDifference(0.47, 0.5, -0.03, low=-0.0501, high=0.01)
    assert rules.worse_than_champion(params, comparison({figure: at_margin})) == []
    assert rules.worse_than_champion(params, comparison({figure: beyond})) == [
        f"mean {FIGURES[figure]} 0.4700 against the champion's 0.5000: the difference may be as low as -0.0501, "
        "0.0001 beyond the margin 0.0500"
    ]


def test_a_sum_off_in_its_last_bits_is_still_at_the_margin() -> None:
    assert 0.1 + 0.2 > 0.3
    rounded = FigureDifference(0.4, 0.7, -0.3, low=-(0.1 + 0.2), high=0.0)
    subgroup = group(20, "acc", -(0.1 + 0.2))
    assert rules.worse_than_champion(settings(margin=0.3), comparison({"giou": rounded})) == []
    assert rules.worse_in_a_subgroup(settings(subgroup_margin=0.3), comparison(None, subgroup)) == []
    least = FigureDifference(0.5, 0.5, 0.0, low=-rules.TINY, high=0.0)
    assert rules.worse_than_champion(settings(margin=0.0), comparison({"acc": least})) == []
    same = group(20, "acc", -rules.TINY)
    assert rules.worse_in_a_subgroup(settings(subgroup_margin=0.0), comparison(None, same)) == []


def test_no_interval_no_verdict_and_better_is_never_refused() -> None:
    unknown = FigureDifference(0.1, 0.9, -0.8)
    better = FigureDifference(0.9, 0.1, 0.8, low=0.7, high=0.9)
    assert rules.worse_than_champion(settings(), comparison({"giou": unknown, "acc": better})) == []
    assert rules.worse_in_a_subgroup(settings(), comparison(None, group(100, "giou", 0.4))) == []


def test_a_subgroup_is_judged_from_subgroup_min_cases_on() -> None:
    params = settings(subgroup_min=20, subgroup_margin=0.2)
    assert rules.worse_in_a_subgroup(params, comparison(None, group(19, "giou", -0.25))) == []
    assert rules.worse_in_a_subgroup(params, comparison(None, group(20, "giou", -0.25))) == [
        "dataset busi (20 cases): gIoU 0.2500 is 0.2500 below the champion's 0.5000; the subgroup margin is 0.2000"
    ]


@pytest.mark.parametrize("figure", FIGURES)
def test_a_subgroup_worse_by_the_margin_passes(figure: str) -> None:
    params = settings(subgroup_margin=0.25)
    assert rules.worse_in_a_subgroup(params, comparison(None, group(20, figure, -0.25))) == []
    failed = rules.worse_in_a_subgroup(params, comparison(None, group(50, "giou", 0.0), group(20, figure, -0.2501)))
    assert len(failed) == 1 and failed[0].startswith(f"dataset busi (20 cases): {FIGURES[figure]} ")


def test_a_commit_is_asked_for_only_where_it_must_be_clean() -> None:
    strict, lax = settings(require_clean_commit=True), settings()
    assert rules.commit_not_clean(strict, "0123abc") == []
    assert rules.commit_not_clean(strict, NONE) == ["register.require_clean_commit: it was made outside git"]
    assert rules.commit_not_clean(strict, "0123abc" + CHANGES) == [
        "register.require_clean_commit: tracked files differed from its commit"
    ]
    assert rules.commit_not_clean(lax, NONE) == rules.commit_not_clean(lax, "0123abc" + CHANGES) == []


def test_only_a_gate_that_says_true_has_passed() -> None:
    passed = {"success": True}
    assert rules.gates_not_passed({"gate_data": passed, "gate_cot": passed}) == []
    for report in ({}, {"success": False}, {"success": "true"}, {"success": 1}):
        assert rules.gates_not_passed({"gate_data": report, "gate_cot": passed}) == ["gate_data did not pass"]
    assert rules.gates_not_passed({}) == ["gate_data did not pass", "gate_cot did not pass"]


@pytest.mark.parametrize(
    "broken",
    [{}, {"single": 0.5}, {"single": {"mean": 0.5}}, *({"single": {"mean": {"giou": v}}} for v in (None, "0.5", True))],
)
def test_a_figure_that_is_no_number_is_missing(broken: Any) -> None:
    with pytest.raises(RegistryError, match="the metrics lack the figure single.mean.giou") as caught:
        rules.figure(broken, "single", "mean", "giou")
    assert caught.value.where == "metrics.json"
    assert caught.value.remedy == "run `dvc repro evaluate` and register again"


def test_a_whole_number_is_a_figure() -> None:
    found = rules.figure({"single": {"mean": {"acc": 1}}}, "single", "mean", "acc")
    assert found == 1.0 and isinstance(found, float)
