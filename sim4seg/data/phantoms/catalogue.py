"""Which painter makes which dataset, how its files are called, and how a case's number decides all about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sim4seg.config.fetch import PhantomCounts
from sim4seg.data.phantoms import chest, colon, fundus, skin, ultrasound, xray
from sim4seg.data.phantoms.canvas import Field, Painting
from sim4seg.data.sample import SPLITS, PhantomCase, PhantomStructure, Split
from sim4seg.digest import digest_bytes
from sim4seg.errors import ConfigError

Painter = Callable[[np.random.Generator, str, int], Painting]

TWIN_SHARE = 0.2
"""Share of odd numbers whose image is the one before, mirrored and re-exposed: a tenth of the cases share a group."""


@dataclass(frozen=True)
class _Dataset:
    """A painted dataset: ``labels`` are dealt in shuffled rounds; ``stem`` names case ``number`` (from 1)."""

    paint: Painter
    labels: tuple[str, ...]
    stem: Callable[[int, str], str]


def _hexadecimal(number: int) -> str:
    return digest_bytes(b"phantom", str(number).encode())[:32]


def _colonoscopy_id(number: int) -> str:
    return f"cju{_hexadecimal(number)[:22]}"


_FIVES_LETTERS: dict[str, str] = dict(zip(fundus.LABELS, "ADGN", strict=True))

_DATASETS: dict[str, _Dataset] = {
    "bf": _Dataset(xray.paint_kind, xray.KIND_LABELS, lambda n, _: f"photo{n}_jpg.rf.{_hexadecimal(n)}"),
    "bfd": _Dataset(xray.paint_part, xray.PART_LABELS, lambda n, _: f"image{n}_png.rf.{_hexadecimal(n)}"),
    "busi": _Dataset(ultrasound.paint_breast, ultrasound.BUSI_CYCLE, lambda n, label: f"{label} ({n})"),
    "cxd": _Dataset(chest.paint, chest.LABELS, lambda n, _: str(36000 + n)),
    "fives": _Dataset(fundus.paint, fundus.LABELS, lambda n, label: f"{n}_{_FIVES_LETTERS[label]}"),
    "fracatlas": _Dataset(xray.paint_fracatlas, xray.FRACATLAS_LABELS, lambda n, _: f"IMG{n:07d}"),
    "isbi": _Dataset(skin.paint, skin.ISBI_LABELS, lambda n, _: f"ISIC_{n:07d}"),
    "isic": _Dataset(skin.paint, skin.ISIC_LABELS, lambda n, _: f"ISIC_{20000 + n:07d}"),
    "kvasir": _Dataset(colon.paint, colon.LABELS, lambda n, _: _colonoscopy_id(n)),
    "tn3k": _Dataset(ultrasound.paint_thyroid, ultrasound.TN3K_LABELS, lambda n, _: f"{n:04d}"),
}

KEYS: tuple[str, ...] = tuple(_DATASETS)
"""The datasets that can be painted; their order is part of the seed."""


def paint_case(key: str, split: Split, index: int, *, seed: int, size: int) -> PhantomCase:
    """Paint case ``index`` (from 0) of a split; depends on nothing but the arguments.

    Args:
        key: the dataset, one of ``KEYS``.
        split: the split it belongs to.
        index: number in the split.
        seed: ``base.seed`` of the parameters.
        size: shorter side of the image in pixels.

    Raises:
        ConfigError: no painter for ``key``.
    """
    if key not in _DATASETS:
        raise ConfigError(f"no phantoms for dataset {key!r}", where="phantoms", remedy=f"use one of {', '.join(KEYS)}")
    dataset = _DATASETS[key]
    source = _source(key, split, index, seed)
    label = _label(key, split, source, seed)
    painting = dataset.paint(_rng(key, split, source, seed), label, size)
    if source != index:
        painting = _retake(_rng(key, split, index, seed), painting)
    number = _number(split, index)
    return PhantomCase(
        name=dataset.stem(number, label),
        image=_pixels(painting.image),
        structures=painting.structures,
        label=label,
        split=split,
        group=f"image{_number(split, source)}",
        attributes=painting.attributes,
    )


def paint_dataset(key: str, counts: PhantomCounts, seed: int) -> Iterator[PhantomCase]:
    """All cases of a dataset, split by split, in the order of their numbers."""
    for split in SPLITS:
        for index in range(getattr(counts, split)):
            yield paint_case(key, split, index, seed=seed, size=counts.size)


def _number(split: Split, index: int) -> int:
    """A number from 1 that no other case of the dataset has, in whatever split."""
    return 1 + index * len(SPLITS) + SPLITS.index(split)


def _rng(key: str, split: Split, index: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, KEYS.index(key), SPLITS.index(split), index])


def _source(key: str, split: Split, index: int, seed: int) -> int:
    """The number of the case whose photograph this one shows: its own, or for a twin the one before."""
    draw = np.random.default_rng([seed, KEYS.index(key), SPLITS.index(split), index, 1]).random()
    return index - 1 if index % 2 and draw < TWIN_SHARE else index


def _label(key: str, split: Split, index: int, seed: int) -> str:
    """Labels are dealt in rounds, each a shuffle of all, so that every split is balanced at any length."""
    labels = _DATASETS[key].labels
    deal, place = divmod(index, len(labels))
    order = np.random.default_rng([seed, KEYS.index(key), SPLITS.index(split), deal, 2]).permutation(len(labels))
    return labels[int(order[place])]


def _retake(rng: np.random.Generator, painting: Painting) -> Painting:
    """The same photograph mirrored left to right, brighter or darker."""
    image: Field = painting.image[:, ::-1] * np.float32(rng.uniform(0.85, 1.12))
    structures = tuple(
        PhantomStructure(np.ascontiguousarray(one.mask[:, ::-1]), one.label, one.target, one.where)
        for one in painting.structures
    )
    return Painting(image, structures, painting.attributes)


def _pixels(image: Field) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.ascontiguousarray(np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8))
