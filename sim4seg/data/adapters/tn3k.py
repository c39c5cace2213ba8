"""TN3K: thyroid ultrasound with nodule masks, a fold file and tables of benign or malignant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from sim4seg.data.adapters.base import ReadLog, WritableAdapter, image_files, register
from sim4seg.data.adapters.pictures import save_image, save_mask
from sim4seg.data.adapters.tables import read_json, read_pairs, write_json_file, write_rows
from sim4seg.data.sample import MaskFiles, PhantomCase, RawSample, Split
from sim4seg.errors import DataError

_Part = Literal["trainval", "test"]
_PARTS: tuple[_Part, ...] = ("trainval", "test")
_FOLD = "tn3k-trainval-fold0.json"


def _validation_numbers(path: Path) -> set[int]:
    """The numbers of the validation images: images are named by number, ``0007.jpg`` is 7."""
    if not path.is_file():
        return set()
    try:
        return {int(number) for number in read_json(path)["val"]}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"not a fold file of TN3K: {error!r}",
            where=str(path),
            remedy='it must read {"train": [numbers], "val": [numbers]}; restore it or take it away',
        ) from error


@register
class Tn3k(WritableAdapter):
    """TN3K (Gong H. et al., TRFE-Net, ISBI 2021 and Computers in Biology and Medicine 2023).

    2,879 images for training and validation (fold 0 of the published five decides), 614 for testing. Labels, 0 benign
    and 1 malignant, are the tables published later with the ACL classifier; without them samples have no label.
    """

    key = "tn3k"
    folder = "TN3K"
    aliases = ("tn3k",)
    modality = "ultrasound"
    title = "TN3K thyroid nodule"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        validation = _validation_numbers(root / _FOLD)
        for part in _PARTS:
            table = root / f"label4{part}.csv"
            labels = read_pairs(table) if table.is_file() else {}
            for image in image_files(root / f"{part}-image"):
                split: Split = "test" if part == "test" else "train"
                if part == "trainval" and image.stem.isdecimal() and int(image.stem) in validation:
                    split = "val"
                yield RawSample(
                    image=image,
                    mask=MaskFiles((root / f"{part}-mask" / image.name,)),
                    label=labels.get(image.stem),
                    target="thyroid nodule",
                    group=f"{part}/{image.stem}",
                    key=image.relative_to(root).as_posix(),
                    split=split,
                )

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        tables: dict[_Part, list[tuple[str, str]]] = {part: [] for part in _PARTS}
        fold: dict[str, list[int]] = {"train": [], "val": []}
        for folder in _PARTS:
            (root / f"{folder}-image").mkdir(parents=True, exist_ok=True)
            (root / f"{folder}-mask").mkdir(parents=True, exist_ok=True)
        for case in cases:
            part: _Part = "test" if case.split == "test" else "trainval"
            number = len(tables[part])
            name = f"{number:04d}.jpg"
            save_image(root / f"{part}-image" / name, case.image)
            save_mask(root / f"{part}-mask" / name, case.union())
            tables[part].append((name, self.vocabulary.spelling(case.label)))
            if part == "trainval":
                fold[case.split].append(number)
        write_json_file(root / _FOLD, fold)
        for name, rows in tables.items():
            write_rows(root / f"label4{name}.csv", rows)
