"""Scoring a manifest: modes, files, resumption. Answers come from a rule, so the right figures are known."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim4seg.config.evaluate import Evaluate, Tts
from sim4seg.errors import DataError
from sim4seg.evaluation.batch_store import BatchStore
from sim4seg.evaluation.cases import MODES, read_cases
from sim4seg.evaluation.evaluate import Outputs, score_manifest
from sim4seg.evaluation.metrics import overlap
from sim4seg.evaluation.scoring import case_seed, scorer
from sim4seg.inference.tts import Candidate
from tests.settings import settings

LABELS = {"a": ["x", "y"], "b": ["z"]}


class Squares:
    """Samples whose mask is a square that depends on the row, each sixth none; the image shows the mask."""

    def mask(self, shard: str, row: int) -> np.ndarray:
        mask = np.zeros((24, 32), bool)
        mask[4 : 8 + row % 9, 5 : 9 + row % 7] = row % 6 != 0
        return mask

    def image(self, shard: str, row: int) -> np.ndarray:
        return np.where(self.mask(shard, row), 200, 20).astype(np.uint8)


class Rule:
    """Four answers an image: the square moved by a seeded amount, a seeded label; counts the images it was shown."""

    def __init__(self, stop_after: int = 10**9, killed: bool = False) -> None:
        self.shown = 0
        self.stop_after = stop_after
        self.killed = killed

    def answer(self, images: list[np.ndarray], questions: list[str], seeds: list[int]) -> Sequence[Sequence[Candidate]]:
        if self.shown >= self.stop_after:
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        self.shown += len(images)
        return [self._one(image, np.random.default_rng(seed)) for image, seed in zip(images, seeds, strict=True)]

    def _one(self, image: np.ndarray, rng: np.random.Generator) -> list[Candidate]:
        found = []
        for path in range(2):
            text = f"Firstly, it is. Finally, so: {rng.choice(['x', 'y', 'zed', 'x y'])}"
            for perturbation in range(2):
                mask = np.roll(image > 100, int(rng.integers(0, 9)), axis=1)
                probability = mask.astype(np.float32)
                grid = np.zeros((4, 4), np.float32)
                found.append(Candidate(text, mask, probability, grid, -0.1, 0.5, path, perturbation))
        return found

    def choose(self, candidates: Sequence[Candidate]) -> int:
        return len(candidates) - 1

    def answer_once(
        self, images: list[np.ndarray], questions: list[str], seeds: list[int], shuffled: bool
    ) -> Sequence[Sequence[Candidate]]:
        return [candidates[:1] for candidates in self.answer(images, questions, seeds)]


def manifest() -> pd.DataFrame:
    rows = []
    for index in range(30):
        dataset = "ab"[index % 2]
        labels = LABELS[dataset]
        rows.append(
            {
                "id": f"id{index}",
                "dataset": dataset,
                "shard": "s",
                "row": index,
                "question": "Where?",
                "label": labels[index // 2 % len(labels)],
                "synonyms": ["zed"] if dataset == "b" else [],
                "split": "train" if index < 17 else "test",
            }
        )
    return pd.DataFrame(rows)


def outputs(folder: Path) -> Outputs:
    names = ("cases.parquet", "metrics.json", "results.md", "per_dataset.csv")
    return Outputs(*(folder / name for name in names))


def run(folder: Path, rule: Rule, frame: pd.DataFrame | None = None, cases: int = 0) -> None:
    data = manifest() if frame is None else frame
    score_manifest(
        7,
        settings(Evaluate, batch_size=4, controls={"cases": cases}),
        lambda: rule,
        Squares(),
        data,
        outputs(folder),
        BatchStore(folder / "work", "f" * 64),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_the_shape_of_the_metrics(tmp_path: Path) -> None:
    run(tmp_path, Rule())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    keys = {"single", "tts", "tts_oracle", "baselines", "confidence", "lesion_and_empty", "controls", "scorer"}
    assert set(metrics) == keys
    for mode in MODES:
        assert set(metrics[mode]) == {"a", "b", "mean"}
        assert set(metrics[mode]["mean"]) == {"giou", "ciou", "dice", "acc", "n"}
        assert metrics[mode]["mean"]["n"] == 13
        assert set(metrics["confidence"][mode]) == {"giou", "ciou", "dice", "acc"}
    assert set(metrics["baselines"]["centre_prior"]["mean"]) == {"giou", "ciou", "dice", "n"}
    assert set(metrics["baselines"]["majority_label"]["mean"]) == {"acc", "n"}
    apart = metrics["lesion_and_empty"]
    assert set(apart) == {*MODES, *metrics["baselines"]}
    assert set(metrics["controls"]) == set(metrics["baselines"]) == {"centre_prior", "dataset_prior", "majority_label"}
    for table in apart.values():
        assert (table["mean"]["n_lesion"], table["mean"]["n_empty"]) == (11, 2)  # rows 18 and 24 are empty
        assert set(table) == {"a", "b", "mean"}
    assert apart["single"]["mean"]["false_positive_rate"] == 0.0
    assert apart["centre_prior"]["mean"]["false_positive_rate"] == 1.0
    assert apart["majority_label"]["a"]["balanced_acc"] == 0.5


def test_the_scorer_is_named_by_what_decides_a_single_answer() -> None:
    assert scorer(settings(Evaluate)) == scorer(settings(Evaluate, tts=settings(Tts, paths=3)))
    assert scorer(settings(Evaluate)) != scorer(settings(Evaluate, max_new_tokens=100))


def test_figures_equal_those_counted_by_hand(tmp_path: Path) -> None:
    run(tmp_path, Rule())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    squares, test = Squares(), manifest()[lambda frame: frame["split"] == "test"]
    for dataset, rows in test.groupby("dataset"):
        ious, right = [], []
        for row in rows.to_dict("records"):
            single = Rule()._one(squares.image("s", row["row"]), np.random.default_rng(case_seed(7, row["id"])))[0]
            ious.append(overlap(single.mask, squares.mask("s", row["row"])).iou)
            right.append(single.text.rsplit(": ")[-1] in {row["label"], *row["synonyms"]})
        assert metrics["single"][dataset]["giou"] == pytest.approx(np.mean(ious), abs=1e-6)
        assert metrics["single"][dataset]["acc"] == pytest.approx(np.mean(right), abs=1e-6)
    assert metrics["baselines"]["majority_label"]["b"]["acc"] == 1.0
    assert metrics["baselines"]["majority_label"]["a"]["acc"] == pytest.approx(
        (test[test["dataset"] == "a"]["label"] == "x").mean(), abs=1e-6
    )


def test_the_oracle_is_never_below_what_it_chooses_from(tmp_path: Path) -> None:
    run(tmp_path, Rule())
    cases = read_cases(tmp_path / "cases.parquet")
    for single, tts, oracle in zip(cases[0::3], cases[1::3], cases[2::3], strict=True):
        assert (single.mode, tts.mode, oracle.mode) == MODES
        assert single.id == tts.id == oracle.id
        assert oracle.iou >= max(single.iou, tts.iou)
        assert oracle.correct >= max(single.correct, tts.correct)
        assert (single.path, single.perturbation) == (0, 0)
        assert (tts.path, tts.perturbation) == (1, 1)
    assert any(oracle.iou > tts.iou for tts, oracle in zip(cases[1::3], cases[2::3], strict=True))


def test_interrupted_and_rerun_gives_the_same_bytes_without_answering_twice(tmp_path: Path) -> None:
    run(tmp_path / "whole", Rule())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Rule(stop_after=8))
    assert contents(tmp_path / "parts") == {}
    rest = Rule()
    run(tmp_path / "parts", rest)
    assert rest.shown == 13 - 8
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert list((tmp_path / "parts" / "work").iterdir()) == []


def test_controls_that_are_interrupted_go_on_too(tmp_path: Path) -> None:
    whole = Rule()
    run(tmp_path / "whole", whole, cases=4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Rule(stop_after=13 + 10), cases=4)
    rest = Rule()
    run(tmp_path / "parts", rest, cases=4)
    # Batches of 4: all 13 of the scoring, both batches of the first control and one of the second were finished.
    assert rest.shown == whole.shown - 13 - 12
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert list((tmp_path / "parts" / "work").iterdir()) == []


@pytest.mark.slow
def test_killed_and_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "whole", Rule())
    process = multiprocessing.get_context("spawn").Process(target=run, args=(tmp_path / "parts", Rule(8, killed=True)))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    rest = Rule()
    run(tmp_path / "parts", rest)
    assert rest.shown == 13 - 8
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_damaged_batch_is_scored_again(tmp_path: Path) -> None:
    run(tmp_path / "whole", Rule())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Rule(stop_after=8))
    damaged = min((tmp_path / "parts" / "work").rglob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    rest = Rule()
    run(tmp_path / "parts", rest)
    assert rest.shown == 13 - 4
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_order_of_the_manifest_does_not_matter(tmp_path: Path) -> None:
    run(tmp_path / "one", Rule())
    run(tmp_path / "other", Rule(), manifest().iloc[::-1])
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split_is_refused(tmp_path: Path, split: str) -> None:
    frame = manifest()
    with pytest.raises(DataError, match=f"no samples in the {split} split"):
        run(tmp_path, Rule(), frame[frame["split"] != split])


def test_tables_show_what_the_metrics_say(tmp_path: Path) -> None:
    run(tmp_path, Rule())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    text = (tmp_path / "results.md").read_text()
    for name in ("single answer", "oracle's choice", "centre prior", "majority label"):
        assert name in text
    assert f"| {100 * metrics['single']['mean']['giou']:.2f} [" in text
    rows = list(csv.DictReader((tmp_path / "per_dataset.csv").open()))
    assert [row["dataset"] for row in rows] == ["a", "b"]
    assert float(rows[0]["giou"]) == metrics["single"]["a"]["giou"]
    assert float(rows[1]["tts_oracle_acc"]) == metrics["tts_oracle"]["b"]["acc"]
    lesions = metrics["lesion_and_empty"]["single"]["b"]["giou_lesion"]
    assert f"| b | 7 | 0 | {100 * lesions:.2f} / " in text
    assert float(rows[1]["centre_prior_giou"]) == metrics["baselines"]["centre_prior"]["b"]["giou"]
