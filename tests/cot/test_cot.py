"""Measurements against drawn shapes, texts against the critic, the critic against tampering."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from skimage.draw import disk, ellipse, polygon

from sim4seg.config.generate_cot import GenerateCot
from sim4seg.cot.contract import NO_LESION, STEPS
from sim4seg.cot.critic import criticise
from sim4seg.cot.findings import measure
from sim4seg.cot.generate import generate_cot
from sim4seg.cot.provider import CotCase
from sim4seg.cot.providers import open_provider
from sim4seg.cot.template import WORDS, all_phrases, phrases
from sim4seg.data.manifest import read_manifest
from sim4seg.errors import ConfigError
from tests.data.pictures import generic
from tests.ingest.test_ingest import run
from tests.settings import settings

SHAPE = (120, 150)


def mask_of(rows_columns) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[rows_columns] = True
    return mask


def painted(mask, inside=200, outside=60):
    image = np.full(SHAPE, outside, np.uint8)
    image[mask] = inside
    return image


@pytest.mark.parametrize(
    ("centre", "place"),
    [
        ((20, 20), "upper left"),
        ((60, 75), "centre"),
        ((100, 130), "lower right"),
        ((60, 20), "middle left"),
        ((20, 75), "upper middle"),
    ],
)
def test_place(centre, place):
    mask = mask_of(disk(centre, 8, shape=SHAPE))
    assert measure(painted(mask), mask).place == place


def test_shape_words():
    round_, oval = mask_of(disk((60, 75), 20)), mask_of(ellipse(60, 75, 15, 25))
    long = mask_of(ellipse(60, 75, 6, 50))
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    radius = np.where(np.arange(20) % 2, 40, 12)
    star = mask_of(polygon(60 + radius * np.sin(angles), 75 + radius * np.cos(angles)))
    assert [measure(painted(m), m).shape for m in (round_, oval, long, star)] == [
        "round",
        "oval",
        "elongated",
        "irregular",
    ]


@pytest.mark.parametrize(("radius", "size"), [(6, "tiny"), (14, "small"), (25, "medium"), (45, "large")])
def test_size_words(radius, size):
    mask = mask_of(disk((60, 75), radius))
    assert measure(painted(mask), mask).size == size


def test_contrast_texture_colour_margin_and_parts():
    mask = mask_of(disk((60, 75), 20))
    assert measure(painted(mask), mask).contrast == "brighter"
    assert measure(painted(mask, 20, 120), mask).contrast == "darker"
    assert measure(painted(mask), mask).texture == "homogeneous"
    noisy = painted(mask)
    noisy[mask] = np.random.default_rng(0).integers(0, 255, int(mask.sum()))
    assert measure(noisy, mask).texture == "heterogeneous"
    assert measure(painted(mask), mask).colour == ""
    red = np.stack([painted(mask, 220, 90), painted(mask, 30, 90), painted(mask, 30, 90)], axis=2)
    assert measure(red, mask).colour == "red"
    assert measure(painted(mask), mask).margin == "sharp"
    rows, columns = np.indices(SHAPE)
    far = np.hypot(rows - 60, columns - 75)
    assert measure((200 - 140 / (1 + np.exp(-(far - 20) / 9))).astype(np.uint8), mask).margin == "blurred"
    assert measure(painted(mask), mask | mask_of(disk((15, 15), 6))).parts == 2


def case(image, mask, label="benign", rivals=("malignant",)) -> CotCase:
    return CotCase(image, mask, "ultrasound", "Where?", label, rivals, measure(image, mask))


@examples(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.01, 0.3, 0.9]), colour=st.booleans())
def test_the_critic_accepts_every_template_text(seed, share, colour):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 60, 2))
    image = rng.integers(0, 255, (*shape, 3) if colour else shape, dtype=np.uint8)
    one = case(image, rng.random(shape) < share)
    text = open_provider("template").write(one, 1, rng)
    assert criticise(text, one) == []
    assert text.startswith("Sure, it is [SEG].")
    assert text.endswith(": benign")
    assert 20 <= len(text.split()) <= 80


MASK = mask_of(disk((20, 20), 14))
TAMPERING = [
    ("[SEG]", "", "does not start"),
    ("Firstly,", "[SEG] Firstly,", "occurs 2 times"),
    ("Secondly,", "Then,", "four steps"),
    ("ultrasound", "X-ray", "modality"),
    ("small", "large", "size is small"),
    ("upper left", "lower right", "place is upper left"),
    ("round", "irregular", "shape is round"),
    ("brighter than", "darker than", "contrast is brighter"),
    ("sharp", "blurred", "margin is sharp"),
    ("homogeneous", "heterogeneous", "texture is homogeneous"),
    (": benign", ": malignant", "conclusion is 'malignant'"),
    (": benign", ": benign.", "conclusion is 'benign.'"),
    ("Thirdly,", "Thirdly, surely benign,", "before the conclusion"),
    ("Thirdly,", "Thirdly, not malignant,", "before the conclusion"),
    ("Thirdly,", "Thirdly, its colour is blue,", "colour is not to be stated"),
    ("Thirdly,", "Thirdly, " + "very " * 400, "longer than"),
]


@pytest.mark.parametrize(("old", "new", "objection"), TAMPERING)
def test_the_critic_catches_tampering(old, new, objection):
    one = case(painted(MASK), MASK)
    text = open_provider("template").write(one, 1, np.random.default_rng(1))
    assert old in text
    assert any(objection in found for found in criticise(text.replace(old, new), one))


def test_a_lesion_denied_or_invented_is_caught():
    lesion, healthy = case(painted(MASK), MASK), case(painted(MASK), np.zeros(SHAPE, bool))
    texts = [open_provider("template").write(c, 1, np.random.default_rng(2)) for c in (lesion, healthy)]
    assert "no focal lesion" in texts[1]
    assert criticise(texts[1], lesion)
    assert criticise(texts[0], healthy)


def test_phrases_hold_every_word_and_unknown_providers_are_named():
    said = " ".join(all_phrases())
    assert all(word in said for name, words in WORDS.items() if name != "contrast" for word in words)
    with pytest.raises(ConfigError, match="unknown provider 'oracle'") as caught:
        open_provider("oracle")
    assert "template" in caught.value.remedy


def test_every_wording_keeps_to_the_contract():
    for step in STEPS:
        for wording in [w for key in phrases() if key.endswith(step.lower()) for w in phrases()[key]]:
            assert wording.startswith(f"{step},")
            assert not any(other in wording for other in STEPS if other != step)
    assert all(NO_LESION in wording for wording in phrases()["normal_secondly"])
    assert not any(NO_LESION in wording for wording in phrases()["secondly"])
    assert all(wording.endswith(": {label}") for wording in phrases()["finally"])


@pytest.mark.slow
def test_texts_are_written_for_every_row_whatever_the_workers(tmp_path):
    generic(tmp_path / "raw")
    where = run(tmp_path)
    for name, workers in (("a", 1), ("b", 2)):
        out = tmp_path / f"{name}.parquet", tmp_path / f"{name}.json"
        generate_cot(5, settings(GenerateCot), where.manifest, where.shards, *out, workers=workers)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    frame = read_manifest(tmp_path / "a.parquet")
    assert (frame["cot_verdict"] == "accepted").all()
    assert all(text.endswith(f": {label}") for text, label in zip(frame["cot"], frame["label"], strict=True))
    assert json.loads((tmp_path / "a.json").read_text())["accepted"] == 12
