"""Whatever is drawn: image and mask go together, words stay true, and seed, sample and place decide every byte."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from accelerate.data_loader import skip_first_batches
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sim4seg.config.augment import Augment
from sim4seg.cot.critic import criticise
from sim4seg.cot.findings import measure
from sim4seg.cot.provider import CotCase
from sim4seg.cot.rewrite import rewrite
from sim4seg.data.manifest import read_manifest
from sim4seg.data.place_phrases import HALVES, SIDES, Part, all_phrases, grid_phrases, phrases, rearranged
from sim4seg.data.sample import MODALITIES
from sim4seg.errors import ConfigError
from sim4seg.training.augmentation.augmentation import LEAST_LESION, Augmentation
from sim4seg.training.augmentation.draw import COLOUR, GEOMETRY, KINDS, Draw, draw
from sim4seg.training.augmentation.pixels import changed_image, changed_mask
from sim4seg.training.augmentation.wording import allowed, breaks
from sim4seg.training.dataset import SplitDataset
from sim4seg.training.sample_order import ProcessBatches, SampleOrder, Share
from sim4seg.training.train import TrainPaths, _check_as_they_are
from sim4seg.training.trainer import OrderedLoader
from tests.settings import params, plain_train
from tests.settings import settings as settings_of

CHANCES = {name: 0.6 for name in Augment.model_fields if name != "strength"}
STRONG = Augment(strength=1.0, **CHANCES)
ROW = {
    "id": "0123456789abcdef",
    "modality": "dermoscopy",
    "target": "skin lesion",
    "where": "",
    "label": "benign",
    "question": "Segment the skin lesion and name the diagnosis.",
    "cot": "Sure, it is [SEG].",
    "cot_provider": "template",
    "cot_attempts": 1,
}

plain_draws = st.builds(Draw, mirror=st.booleans(), upside_down=st.booleans(), quarters=st.integers(0, 3))


def picture(seed: int, colour: bool) -> tuple[np.ndarray, np.ndarray]:
    """An image with a lesion, or in one of five without."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(40, 120, 2))
    rows, columns = np.mgrid[:height, :width]
    centre, radii = rng.uniform(0.2, 0.8, 2) * (height, width), rng.uniform(4, 30, 2)
    mask = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
    mask &= bool(seed % 5)
    noise = ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (2, 2, 0)) * 300
    image = noise + rng.uniform(40, 200, 3) + rng.uniform(-90, 90, 3) * mask[..., None]
    image = image.clip(0, 255).astype(np.uint8)
    return (image if colour else np.ascontiguousarray(image[..., 0])), mask


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(MODALITIES), st.booleans())
def test_the_text_says_what_the_critic_measures_on_the_shown_image(seed, place, modality, colour):
    image, mask = picture(seed, colour)
    row = {**ROW, "modality": modality}
    shown = Augmentation(seed, STRONG)(row, image, mask, place)
    if shown["answer"] == ROW["cot"]:
        assert shown["image"] is image and shown["mask"] is mask, "only what stays as it is keeps its stored text"
        return
    findings = measure(shown["image"], shown["mask"])
    case = CotCase(shown["image"], shown["mask"], modality, row["question"], "benign", ("malignant",), findings)
    assert criticise(shown["answer"], case) == []
    assert bool(findings.parts) == mask.any(), "a lesion is never lost, nor made"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_mask_and_image_go_together_and_most_of_the_lesion_stays(seed, place):
    _, mask = picture(seed, False)
    geometry = Augment(
        strength=1.0,
        **{name: 0.7 for name in ("flip", "turn", "tilt", "zoom")},
        **dict.fromkeys(("brightness", "contrast", "gamma", "saturation", "hue", "noise", "blur", "jpeg"), 0.0),
    )
    shown = Augmentation(seed, geometry)(ROW, np.where(mask, 255, 0).astype(np.uint8), mask, place)
    bright = shown["image"] > 127
    edge = ndimage.binary_dilation(shown["mask"]) & ~ndimage.binary_erosion(shown["mask"])
    assert not ((bright != shown["mask"]) & ~edge).any()
    if mask.any():
        assert shown["mask"].sum() >= LEAST_LESION * mask.sum() * 0.7**2 - 1
    assert shown["mask"].any() == mask.any()


@given(plain_draws)
def test_flips_and_turns_are_those_of_a_drawn_corner(drawn):
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = image.tolist()
    if drawn.mirror:
        expected = [row[::-1] for row in expected]
    if drawn.upside_down:
        expected = expected[::-1]
    for _ in range(drawn.quarters):
        expected = [list(column) for column in zip(*expected, strict=True)][::-1]
    assert changed_image(image, drawn).tolist() == expected
    assert changed_mask(image > 2, drawn).tolist() == [[value > 2 for value in row] for row in expected]


def parts_of(mask: np.ndarray) -> list[Part]:
    pieces, count = ndimage.label(mask)
    centres = ndimage.center_of_mass(mask, pieces, range(1, count + 1))
    return [
        Part((x + 0.5) / mask.shape[1], (y + 0.5) / mask.shape[0], float((pieces == index + 1).mean()))
        for index, (y, x) in enumerate(centres)
    ]


def is_at(structure: list[Part], phrase: str) -> bool:
    """Whether a phrase is true of a structure, rank apart, read word by word."""
    if phrase in SIDES:
        return all((part.x < 0.5) == (phrase == SIDES[0]) for part in structure)
    if phrase in HALVES:
        return all((part.y < 0.5) == (phrase == HALVES[0]) for part in structure)
    words = set()
    for part in structure:
        down, right = ("upper", "middle", "lower")[int(part.y * 3)], ("left", "middle", "right")[int(part.x * 3)]
        words.add("centre" if (down, right) == ("middle", "middle") else f"{down} {right}")
    told = phrase.rpartition("in the ")[2] if " and the " not in phrase else phrase.partition("in the ")[2]
    return (
        phrase.endswith("in several parts of the image")
        if len(words) > 2
        else words == set(told.removesuffix(" of the image").split(" and the "))
    )


blobs = st.lists(st.tuples(st.integers(0, 52), st.integers(0, 43), st.integers(2, 9)), min_size=1, max_size=3)


@settings(max_examples=100, deadline=None)
@given(st.lists(blobs, min_size=2, max_size=3), plain_draws, st.sampled_from([phrases, grid_phrases]))
def test_a_place_still_picks_the_asked_structure(structures, drawn, name):
    masks = [np.zeros((53, 62), bool) for _ in structures]
    for mask, squares in zip(masks, structures, strict=True):
        for x, y, side in squares:
            mask[y : y + side, x : x + side] = True
    before = [parts_of(mask) for mask in masks]
    # A centre on the very border of two cells is in one of them before and in the other after.
    borders = [value * part for parts in before for one in parts for part in (2, 3) for value in (one.x, one.y)]
    assume(all(abs(value - round(value)) > 1e-9 for value in borders))
    after = [parts_of(changed_mask(mask, drawn)) for mask in masks]
    for phrase, old, new in zip(name(before), before, after, strict=True):
        moved = rearranged(phrase, drawn.rearranged)
        assert moved is not None and is_at(old, phrase) and is_at(new, moved)
        if " one in " in phrase:
            assert moved.partition(" one in ")[0] == phrase.partition(" one in ")[0], "the larger one stays so"


def test_every_phrase_of_a_place_can_be_turned_and_turned_back():
    every = [Draw(mirror=a, upside_down=b, quarters=c) for a, b, c in itertools.product((0, 1), (0, 1), range(4))]
    for phrase, drawn in itertools.product(all_phrases(), every):
        moved = rearranged(phrase, drawn.rearranged)
        back = [rearranged(moved, other.rearranged) for other in every]
        assert phrase in back
    assert rearranged("on the left side of the image", Draw(mirror=True).rearranged) == "on the right side of the image"
    assert rearranged("near the wrist", Draw(mirror=True).rearranged) is None


def test_a_question_with_a_place_is_mirrored_and_never_zoomed():
    row = {**ROW, "where": SIDES[0], "question": f"Segment the skin lesion {SIDES[0]} and diagnose it."}
    assert allowed(row) == set(KINDS) - {"tilt", "zoom"}
    mask = np.zeros((30, 40), bool)
    mask[10:20, 4:12] = True
    image = np.where(mask, 200, 20).astype(np.uint8)
    seen = set()
    for place in range(60):
        shown = Augmentation(1, STRONG)(row, image, mask, place)
        (x, y) = (
            (axis.mean() + 0.5) / side
            for axis, side in zip(np.nonzero(shown["mask"])[::-1], shown["mask"].shape[::-1], strict=True)
        )
        told = next(phrase for phrase in (*SIDES, *HALVES) if phrase in shown["question"])
        assert is_at([Part(x, y, 0.1)], told)
        seen.add(told)
    assert seen == {*SIDES, *HALVES}


def test_words_that_nobody_rewrites_keep_changes_away():
    free = {**ROW, "cot_provider": "a model", "cot": "Sure, it is [SEG]. Firstly, a mole. Finally, so: benign"}
    assert allowed(free) == set(KINDS)
    assert not allowed({**free, "cot": "It lies in the upper left part."}) & GEOMETRY
    assert (
        allowed({**free, "cot": "It is large."}) == set(KINDS) - {"zoom"} == allowed({**free, "cot": "It has 12 mm."})
    )
    assert not allowed({**free, "cot": "It is brown."}) & (COLOUR | {"brightness", "gamma"})
    assert "blur" not in allowed({**free, "cot": "Its margin is sharp."})
    assert not allowed({**ROW, "target": "left lung"}) & GEOMETRY
    assert breaks("Mark it in the radiograph as well.") == frozenset()
    for words in ("Is the temporal rim thin?", "Mark the leftmost vessel.", "near the apex", "dextrocardia"):
        assert breaks(words) >= GEOMETRY, words
    assert "zoom" in breaks("a thick wall") and "hue" in breaks("a violet spot") and "blur" in breaks("a fuzzy outline")
    assert allowed({**ROW, "cot": "It lies in the upper left part."}) == set(KINDS), "this one is written again"


def test_a_modality_has_only_changes_that_occur_in_it():
    for modality, never in {
        "ultrasound": {"upside_down", "turn", *COLOUR},
        "X-ray": {"upside_down", "turn", *COLOUR},
        "fundus photography": {"turn"},
        "something else": {"upside_down", "turn", *COLOUR},
    }.items():
        assert set(KINDS) - allowed({**ROW, "modality": modality}) == never
    draws = [draw(np.random.default_rng(seed), STRONG, allowed({**ROW, "modality": "X-ray"})) for seed in range(50)]
    assert not any(one.upside_down or one.quarters or one.hue or one.saturation != 1 for one in draws)
    assert any(one.mirror for one in draws) and any(one.warps for one in draws)


def test_nothing_drawn_changes_no_byte(data):
    image, mask = picture(3, True)
    assert changed_image(image, Draw()).tobytes() == image.tobytes()
    assert changed_mask(mask, Draw()).tobytes() == mask.tobytes()
    never = Augment(strength=1.0, **dict.fromkeys(CHANCES, 0.0))
    shown = Augmentation(1, never)(ROW, image, mask, 5)
    assert shown == {"image": image, "mask": mask, "question": ROW["question"], "answer": ROW["cot"]}
    assert replace(Draw(), noise_seed=4).nothing and not settings_of(Augment).enabled


def test_an_unchanged_sample_gets_the_text_that_it_had(data):
    rows = SplitDataset(read_manifest(data / "cot.parquet"), "train", data / "out/shards", Augmentation(5, STRONG))
    for number, row in enumerate(rows.rows):
        sample = rows[number]
        assert sample["answer"] == row["cot"] == rewrite(row, sample["image"], sample["mask"], 5)


def seen_by(data, world: int, workers: int, skip: int = 0) -> dict[int, tuple]:
    """What each place of the second epoch shows, over all processes."""
    rows = SplitDataset(read_manifest(data / "cot.parquet"), "train", data / "out/shards", Augmentation(5, STRONG))
    order = SampleOrder(rows.datasets, rows.lengths, 3, "proportional", 4)
    found = {}
    for rank in range(world):
        batches = ProcessBatches(order, Share.of(4, 1, world), rank, places=True)
        loader = OrderedLoader(rows, batch_sampler=batches, collate_fn=list, num_workers=workers)
        loader.set_epoch(1)
        chosen = list(batches)[skip:]
        for seen, samples in zip(chosen, skip_first_batches(loader, skip) if skip else loader, strict=True):
            for one, sample in zip(seen, samples, strict=True):
                pixels = sample["image"].tobytes(), sample["mask"].tobytes(), sample["image"].shape
                found[one.place] = (sample["id"], *pixels, sample["question"], sample["answer"])
    return found


def test_processes_workers_and_resumption_change_no_byte(data):
    alone = seen_by(data, 1, 0)
    assert sorted(alone) == list(range(8, 16))
    assert seen_by(data, 2, 0) == alone == seen_by(data, 4, 2)
    assert seen_by(data, 1, 0, skip=1) == {place: alone[place] for place in range(12, 16)}
    rows = SplitDataset(read_manifest(data / "cot.parquet"), "train", data / "out/shards")
    stored = {row["id"]: rows[number]["image"].tobytes() for number, row in enumerate(rows.rows)}
    assert sum(stored[sample[0]] != sample[1] for sample in alone.values()) >= 6


def test_stored_embeddings_are_of_images_as_they_are():
    augment = {"augment": {"strength": 0.5}}
    with pytest.raises(
        ValueError, match=r"embed\.enabled encodes once, as they are: set train\.augment\.strength to 0"
    ):
        params(embed={"enabled": True}, train=augment)
    with pytest.raises(ConfigError, match="train.augment changes the images"):
        _check_as_they_are(plain_train(**augment), TrainPaths())
    _check_as_they_are(plain_train(), TrainPaths())
