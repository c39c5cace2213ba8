"""Cases written in a dataset's own layout come back with their labels, splits, groups and masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from PIL import Image

from sim4seg.data.adapters import ADAPTERS, ReadLog, WritableAdapter, find_adapters
from sim4seg.data.dataset_vocabulary import load_vocabulary, vocabulary_keys
from sim4seg.data.sample import MODALITIES, SPLITS, MaskFiles, MaskPolygons, PhantomCase, PhantomStructure, RawSample
from sim4seg.digest import digest_directory

WRITABLE = {key: adapter for key, adapter in ADAPTERS.items() if isinstance(adapter, WritableAdapter)}
LABELS = {
    "fracatlas": ["fractured", "non-fractured"],
    "bf": ["transverse fracture", "oblique fracture", "spiral fracture", "comminuted fracture"],
    "bfd": ["elbow positive", "fingers positive", "forearm fracture", "humerus fracture", "shoulder fracture"],
    "isbi": ["benign", "malignant"],
    "isic": ["melanoma", "melanocytic nevus", "basal cell carcinoma", "benign keratosis"],
    "kvasir": ["sessile polyp", "pedunculated polyp", "flat polyp", "polyp"],
    "busi": ["benign", "malignant", "normal"],
    "tn3k": ["benign nodule", "malignant nodule"],
    "cxd": ["consolidation", "effusion", "nodule", "fibrosis", "mass", "pneumothorax", "pleural thickening"],
    "fives": ["age-related macular degeneration", "diabetic retinopathy", "glaucoma", "normal retina"],
}
NORMAL = {"non-fractured", "normal"}
ONE_SAMPLE_A_CLASS = {"bf", "bfd", "cxd"}
WITH_VALIDATION = {"bf", "bfd", "fracatlas", "tn3k"}
WITHOUT_SPLIT = {"isic", "kvasir", "busi"}
HEIGHT, WIDTH = 121, 170


def disc(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    wobble = 1 + 0.2 * np.sin(5 * np.arctan2(rows - y, columns - x))
    return np.asarray(np.hypot(rows - y, columns - x) < radius * wobble)


def cases(key: str) -> list[PhantomCase]:
    """Flat images of different greys (which is how they are known again), two structures each."""
    made = []
    for number in range(12):
        label = LABELS[key][number % len(LABELS[key])]
        other = LABELS[key][(number + 1) % len(LABELS[key])] if key in ONE_SAMPLE_A_CLASS else label
        structures = (PhantomStructure(disc(40, 50, 12), label), PhantomStructure(disc(130, 70 + number, 6), other))
        image = np.full((HEIGHT, WIDTH, 3), 10 + 20 * number, dtype=np.uint8)
        split = SPLITS[number % 3]
        normal = label in NORMAL
        made.append(
            PhantomCase(f"C_{number:04d}", image, () if normal else structures, label, split, f"p{number // 2}")
        )
    return made


def number_of(path: Path) -> int:
    with Image.open(path) as picture:
        return round((float(np.asarray(picture.convert("L")).mean()) - 10) / 20)


def pixels(sample: RawSample) -> NDArray[np.bool_]:
    """The mask by a rule of its own: a pixel belongs to a polygon that holds its centre."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    if isinstance(sample.mask, MaskPolygons):
        scale = np.array([WIDTH, HEIGHT]) if sample.mask.unit == "fraction" else np.ones(2)
        for polygon in sample.mask.polygons:
            mask |= Outline(np.array(polygon) * scale).contains_points(centres).reshape(mask.shape)
    elif isinstance(sample.mask, MaskFiles):
        for path in sample.mask.paths:
            with Image.open(path) as picture:
                mask |= np.asarray(picture.convert("L")) > 127
    return mask


def expected(key: str, case: PhantomCase) -> dict[str, NDArray[np.bool_]]:
    if key not in ONE_SAMPLE_A_CLASS:
        return {case.label: case.union()}
    return {structure.label: structure.mask for structure in case.structures}


@pytest.fixture(params=sorted(LABELS))
def key(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def test_all_ten_can_be_written() -> None:
    assert set(WRITABLE) == set(LABELS)


def test_written_cases_come_back(key: str, tmp_path: Path) -> None:
    adapter, made, log = WRITABLE[key], cases(key), ReadLog()
    adapter.write(tmp_path / adapter.folder, iter(made))
    found: dict[tuple[int, str], RawSample] = {}
    for sample in adapter.read(adapter.directory(tmp_path), log):
        assert sample.label is not None and sample.target in adapter.vocabulary.targets
        found[number_of(sample.image), adapter.vocabulary.canonical(sample.label)] = sample
    assert not log.unusable and not log.passed_over
    wanted = {(n, label): mask for n, case in enumerate(made) for label, mask in expected(key, case).items()}
    assert set(found) == set(wanted)
    for name, mask in wanted.items():
        got = pixels(found[name])
        assert np.logical_and(got, mask).sum() >= 0.97 * np.logical_or(got, mask).sum(), name
    assert len({sample.key for sample in found.values()}) == len(found)


def test_splits_come_back(key: str, tmp_path: Path) -> None:
    adapter, made = WRITABLE[key], cases(key)
    adapter.write(tmp_path / adapter.folder, made)
    for sample in adapter.read(adapter.directory(tmp_path)):
        split = made[number_of(sample.image)].split
        if key in WITHOUT_SPLIT or sample.label == "non-fractured":
            assert sample.split is None
        elif split == "val" and key not in WITH_VALIDATION:
            assert sample.split == "train"
        else:
            assert sample.split == split


def test_writing_twice_gives_the_same_bytes(key: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        WRITABLE[key].write(tmp_path / name, iter(cases(key)))
    assert digest_directory(tmp_path / "one") == digest_directory(tmp_path / "two")


def test_reading_names_the_same_samples_in_the_same_order(key: str, tmp_path: Path) -> None:
    WRITABLE[key].write(tmp_path / "a", cases(key))
    assert list(WRITABLE[key].read(tmp_path / "a")) == list(WRITABLE[key].read(tmp_path / "a"))


@pytest.mark.parametrize("key", ["bf", "bfd"])
def test_copies_of_one_photograph_share_a_group(key: str, tmp_path: Path) -> None:
    WRITABLE[key].write(tmp_path, cases(key))
    for sample in WRITABLE[key].read(tmp_path):
        assert sample.group == f"p{number_of(sample.image) // 2}"


@pytest.mark.parametrize("key", sorted(ONE_SAMPLE_A_CLASS))
def test_a_place_tells_the_findings_of_an_image_apart(key: str, tmp_path: Path) -> None:
    WRITABLE[key].write(tmp_path, cases(key))
    words: dict[Path, set[str]] = {}
    samples = list(WRITABLE[key].read(tmp_path))
    for sample in samples:
        words.setdefault(sample.image, set()).add(sample.where)
    assert all(len(wheres) == 2 and "" not in wheres for wheres in words.values())
    first = next(sample for sample in samples if pixels(sample)[50, 40])
    assert "left" in first.where


def test_several_structures_of_one_class_are_united(tmp_path: Path) -> None:
    parts = tuple(PhantomStructure(disc(x, 60, 9), "wrist positive") for x in (30, 90, 150))
    image = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    case = PhantomCase("a", image, parts, "wrist positive", "train", "a")
    WRITABLE["bfd"].write(tmp_path, [case])
    (sample,) = WRITABLE["bfd"].read(tmp_path)
    assert sample.where == ""
    np.testing.assert_array_equal(pixels(sample), case.union())


def test_busi_masks_come_in_mixed_modes(tmp_path: Path) -> None:
    WRITABLE["busi"].write(tmp_path, cases("busi"))
    modes = {Image.open(path).mode for path in tmp_path.rglob("*_mask*.png")}
    assert modes == {"1", "RGB", "RGBA"}


def test_adapters_and_vocabularies_belong_together() -> None:
    assert set(ADAPTERS) == set(vocabulary_keys())
    for name, adapter in ADAPTERS.items():
        words = load_vocabulary(name)
        assert adapter.modality in MODALITIES
        assert (words.modality, words.title) == (adapter.modality, adapter.title)


def test_only_datasets_that_are_there_are_found(tmp_path: Path) -> None:
    (tmp_path / "FIVES").mkdir()
    (tmp_path / "BUSI").mkdir()
    assert [adapter.key for adapter in find_adapters(tmp_path)] == ["busi", "fives"]
    assert ADAPTERS["busi"].directory(tmp_path) == tmp_path / "BUSI"
    assert ADAPTERS["kvasir"].directory(tmp_path) == tmp_path / "Kvasir-SEG"
