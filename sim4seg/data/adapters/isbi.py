"""ISBI 2016 skin lesions, Part 3B: images with masks beside them, and a CSV of benign or malignant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from sim4seg.data.adapters.base import ReadLog, WritableAdapter, image_files, register
from sim4seg.data.adapters.isic_archive import MASK_ENDINGS, lesion_samples
from sim4seg.data.adapters.pictures import save_image, save_mask
from sim4seg.data.adapters.tables import read_pairs, write_rows
from sim4seg.data.sample import PhantomCase, RawSample, Split

_PARTS: dict[str, Split] = {"Training": "train", "Test": "test"}


@register
class Isbi2016(WritableAdapter):
    """Skin Lesion Analysis toward Melanoma Detection, ISBI 2016 (Gutman D. et al., arXiv 1605.01397).

    900 training and 379 test images. The training table says benign or malignant, the test table 0.0 or 1.0. The
    layout has no validation part.
    """

    key = "isbi"
    folder = "ISBI2016"
    aliases = ("ISBI2016_ISIC",)
    modality = "dermoscopy"
    title = "ISBI 2016 skin lesion"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        for part, split in _PARTS.items():
            for letter in ("B", ""):
                folder = root / f"ISBI2016_ISIC_Part3{letter}_{part}_Data"
                if folder.is_dir():
                    images = (image for image in image_files(folder) if not image.name.endswith(MASK_ENDINGS))
                    yield from lesion_samples(images, folder, self._labels(root, letter, part), root, log, split)

    @staticmethod
    def _labels(root: Path, letter: str, part: str) -> dict[str, str]:
        # The archive has the table beside the images' folder.
        return read_pairs(root / f"ISBI2016_ISIC_Part3{letter}_{part}_GroundTruth.csv")

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        tables: dict[str, list[tuple[str, str]]] = {part: [] for part in _PARTS}
        for part in _PARTS:
            (root / f"ISBI2016_ISIC_Part3B_{part}_Data").mkdir(parents=True, exist_ok=True)
        for case in cases:
            part = "Test" if case.split == "test" else "Training"
            folder = root / f"ISBI2016_ISIC_Part3B_{part}_Data"
            save_image(folder / f"{case.name}.jpg", case.image)
            save_mask(folder / f"{case.name}_Segmentation.png", case.union())
            label = self.vocabulary.spelling(case.label)
            tables[part].append((case.name, {"benign": "0.0", "malignant": "1.0"}[label] if part == "Test" else label))
        for part, rows in tables.items():
            write_rows(root / f"ISBI2016_ISIC_Part3B_{part}_GroundTruth.csv", rows)
