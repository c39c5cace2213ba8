"""ISIC 2018: dermoscopic images and masks of Task 1, labels of Task 3 or of ISBI 2016."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from sim4seg.data.adapters.base import ReadLog, WritableAdapter, image_files, register
from sim4seg.data.adapters.isic_archive import lesion_samples
from sim4seg.data.adapters.pictures import save_image, save_mask
from sim4seg.data.adapters.tables import read_pairs, read_rows, write_rows
from sim4seg.data.sample import PhantomCase, RawSample
from sim4seg.errors import DataError

_IMAGES = "ISIC2018_Task1-2_Training_Input"
_MASKS = "ISIC2018_Task1_Training_GroundTruth"
_TASK3 = "ISIC2018_Task3_Training_GroundTruth"
_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def _one_hot(path: Path) -> dict[str, str]:
    """{image: class} of a table with one column a class; rows without a single class set are left out."""
    labels = {}
    for row in read_rows(path, ("image", *_CLASSES)):
        chosen = [name for name in _CLASSES if row.get(name) in {"1", "1.0"}]
        if len(chosen) == 1:
            labels[Path(row["image"]).stem] = chosen[0]
    return labels


def _span(names: Iterable[str]) -> str:
    """First and last of names, to be shown."""
    ordered = sorted(names)
    return f"{ordered[0]} to {ordered[-1]}" if ordered else "empty"


@register
class Isic2018(WritableAdapter):
    """ISIC 2018: Skin Lesion Analysis Towards Melanoma Detection (Codella N. et al., arXiv 1902.03368).

    Masks exist for the 2,594 images of Task 1. Their labels are looked up in the table that knows most of them: Task
    3's (which, as published, is of other images), or that of ISBI 2016 Part 3 (benign, malignant). No official split
    with labels.
    """

    key = "isic"
    folder = "ISIC2018"
    modality = "dermoscopy"
    title = "ISIC 2018"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        images = [image for image in image_files(root / _IMAGES) if not image.stem.endswith("_superpixels")]
        labels = self._labels(root, {image.stem for image in images})
        yield from lesion_samples(images, root / _MASKS, labels, root, log)

    @staticmethod
    def _labels(root: Path, images: set[str]) -> dict[str, str]:
        """The table that has labels for most of the images; the first of those that have equally many."""
        task3 = [root / f"{_TASK3}.csv", root / _TASK3 / f"{_TASK3}.csv"]
        tables = {file: _one_hot(file) for file in task3 if file.is_file()}
        tables |= {
            file: read_pairs(file) for file in sorted(root.glob("ISBI2016_ISIC_Part3*_Training_GroundTruth.csv"))
        }
        if not tables:
            raise DataError(
                "the dataset has no table of labels",
                where=str(root),
                remedy=f"put {_TASK3}.csv or ISBI2016_ISIC_Part3_Training_GroundTruth.csv there",
            )
        best = max(tables, key=lambda file: len(images & tables[file].keys()))
        if images and not images & tables[best].keys():
            named = ", ".join(f"{file.name} ({_span(tables[file])})" for file in tables)
            raise DataError(
                f"no table has a label for any of the {len(images)} images ({_span(images)}): {named}",
                where=str(root),
                remedy="Task 3's table is of other images than Task 1's: put there "
                "ISBI2016_ISIC_Part3_Training_GroundTruth.csv, or leave isic out of ingest.datasets",
            )
        return tables[best]

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        rows: list[list[object]] = [["image", *_CLASSES]]
        for name in (_IMAGES, _MASKS):
            (root / name).mkdir(parents=True, exist_ok=True)
        for case in cases:
            save_image(root / _IMAGES / f"{case.name}.jpg", case.image)
            save_mask(root / _MASKS / f"{case.name}_segmentation.png", case.union())
            label = self.vocabulary.spelling(case.label)
            rows.append([case.name, *("1.0" if name == label else "0.0" for name in _CLASSES)])
        write_rows(root / _TASK3 / f"{_TASK3}.csv", rows)
