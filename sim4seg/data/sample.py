"""The row models: what an adapter yields, what a phantom case holds, what a manifest row says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
MODALITIES = ("X-ray", "dermoscopy", "endoscopy", "ultrasound", "fundus photography")


@dataclass(frozen=True)
class MaskFiles:
    """Masks kept as image files, to be united; ``sim4seg.data.mask_meaning`` says which pixels are lesion.

    An empty ``paths`` means the image has no lesion by its dataset's own word (a normal case). ``lesion`` names the
    pixel values that are lesion, where the dataset says so.
    """

    paths: tuple[Path, ...]
    lesion: tuple[int, ...] = ()


@dataclass(frozen=True)
class MaskPolygons:
    """Masks as closed polygons, (x, y) vertices, x right and y down.

    ``unit`` is "pixel" (of an image of size ``size`` = (width, height), if known) or "fraction" of width and height.
    """

    polygons: tuple[tuple[tuple[float, float], ...], ...]
    unit: Literal["pixel", "fraction"]
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class MaskCrops:
    """Masks as image crops to be pasted: (path, left, top) in pixels of a canvas of ``size`` = (width, height)."""

    crops: tuple[tuple[Path, int, int], ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class MaskRuns:
    """Masks as COCO's run lengths, each ((width, height), counts), and the polygons of the same image beside them.

    Counts go down the columns, background first; ``sim4seg.data.run_lengths`` decodes them.
    """

    runs: tuple[tuple[tuple[int, int], tuple[int, ...]], ...]
    polygons: MaskPolygons


MaskSpec = MaskFiles | MaskPolygons | MaskCrops | MaskRuns


@dataclass(frozen=True)
class RawSample:
    """One (image, target) pair as an adapter found it; nothing is decoded yet.

    Attributes:
        image: path of the image file (PNG, JPEG, BMP, TIFF or DICOM).
        mask: where the target's mask is.
        label: the dataset's own diagnosis label, spelt as in the vocabulary; None if the dataset has none for it.
        target: what the question asks for, as a noun phrase ("polyp", "left lung").
        group: samples of one group (patient, source photograph) never fall into different splits.
        split: the dataset's official split, if it has one.
        where: a phrase that picks one of several structures ("on the left side of the image"); "" if not needed.
        question: the dataset's own question; "" to have one made from a template.
        modality: where it differs from sample to sample; "" for the vocabulary's.
        key: a stable name inside the dataset (relative POSIX path plus a suffix for the target).
    """

    image: Path
    mask: MaskSpec
    label: str | None
    target: str
    group: str
    key: str
    split: Split | None = None
    where: str = ""
    question: str = ""
    modality: str = ""


@dataclass(frozen=True)
class PhantomStructure:
    """One painted structure: its mask (H, W) bool, its label and the phrase that names it."""

    mask: NDArray[np.bool_]
    label: str
    target: str = ""
    where: str = ""


@dataclass(frozen=True)
class PhantomCase:
    """One painted image, ready to be written in a dataset's own layout.

    Attributes:
        name: file stem, unique in the dataset, without extension.
        image: (H, W) or (H, W, 3) uint8.
        structures: the annotated structures; empty for a normal case.
        label: the image-level label (a normal case has one too).
        split: the official split to write it to.
        group: patient or source photograph.
        attributes: whatever else the layout's metadata files hold (e.g. {"hand": 1}).
    """

    name: str
    image: NDArray[np.uint8]
    structures: tuple[PhantomStructure, ...]
    label: str
    split: Split
    group: str
    attributes: dict[str, str | int | float] = field(default_factory=dict)

    def union(self) -> NDArray[np.bool_]:
        """The union of all structures' masks, (H, W) bool."""
        mask = np.zeros(self.image.shape[:2], dtype=bool)
        for structure in self.structures:
            mask |= structure.mask
        return mask
