"""YOLO label files, shared by the datasets published in that form (Roboflow exports).

Layout: ``data.yaml`` with the class names; for each split ``<split>/images/X.jpg`` and ``<split>/labels/X.txt``
(or ``images/<split>``, ``labels/<split>``). A label line is ``class cx cy w h`` (a box) or
``class x1 y1 x2 y2 x3 y3 ...`` (a polygon), all fractions of width and height. Roboflow names an augmented copy
``SOURCE_jpg.rf.HASH.jpg``, so the text before ``.rf.`` names the photograph.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from sim4seg.data.adapters.base import MISSING_IMAGE, NO_TARGET, ReadLog, WritableAdapter, image_files
from sim4seg.data.adapters.pictures import save_image
from sim4seg.data.adapters.polygons import Polygon, area_and_centroid, from_box, outlines
from sim4seg.data.adapters.tables import read_yaml
from sim4seg.data.place_phrases import Part, phrases
from sim4seg.data.sample import SPLITS, MaskPolygons, PhantomCase, RawSample, Split
from sim4seg.digest import digest_bytes
from sim4seg.errors import DataError

_SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}

_FARTHEST = 10.0
"""Fractions a little outside 0..1 occur in published files; beyond this they are mistakes (as are nan and inf)."""


def parse_labels(text: str, classes: int) -> dict[int, list[Polygon]]:
    """The polygons of a label file by class number, in the order of the classes.

    A class may be written as any whole number (``1``, ``1.0``, ``1.000e+00``), as numpy.savetxt does.

    Raises:
        ValueError: a line is not a box or polygon of fractions, or its class does not exist.
    """
    polygons_by_class: dict[int, list[Polygon]] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            index, *values = [float(word) for word in words]
        except ValueError:
            odd = next(word for word in words if not _is_number(word))
            raise ValueError(f"line {number} is not numbers with blanks between: {odd[:40]!r}") from None
        if not index.is_integer():
            raise ValueError(f"line {number} names class {words[0][:40]!r}, which is no whole number")
        if not 0 <= index < classes:
            raise ValueError(f"line {number} names class {words[0][:40]}, data.yaml has {classes}")
        if len(values) < 4 or len(values) % 2:
            raise ValueError(
                f"line {number} is neither a box nor a polygon: {len(values)} numbers after the class, "
                "a box has 4, a polygon an even number from 6 on"
            )
        if far := [word for word in words[1:] if not abs(float(word)) <= _FARTHEST]:
            raise ValueError(f"line {number} has {far[0][:40]} where a fraction of the image's side must be")
        polygon = from_box(*values) if len(values) == 4 else tuple(zip(values[::2], values[1::2], strict=True))
        polygons_by_class.setdefault(int(index), []).append(polygon)
    return dict(sorted(polygons_by_class.items()))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def photograph(stem: str) -> str:
    """The name of the photograph that a Roboflow file was made from."""
    before = stem.split(".rf.")[0]
    return re.sub(r"_(jpg|jpeg|png)$", "", before, flags=re.IGNORECASE) if ".rf." in stem else before


def _part(polygon: Polygon) -> Part:
    area, (x, y) = area_and_centroid(polygon)
    return Part(x, y, area)


class YoloAdapter(WritableAdapter):
    """A dataset of YOLO label files: one sample for each class in an image, its structures united."""

    target: ClassVar[str]
    written_names: ClassVar[tuple[str, ...]]
    """Class names for ``data.yaml`` when phantoms are written."""

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        names = self._class_names(root / "data.yaml")
        for split in SPLITS:
            for images, labels in self._folders(root, split):
                known = {path.stem: path for path in image_files(images)}
                for label_file in sorted(labels.glob("*.txt")):
                    if label_file.stem not in known:
                        log.pass_over(MISSING_IMAGE)
                        continue
                    yield from self._of_image(root, known[label_file.stem], label_file, names, split, log)

    def _class_names(self, path: Path) -> list[str]:
        value = read_yaml(path)
        names = value.get("names") if isinstance(value, dict) else None
        if isinstance(names, dict) and sorted(names) == list(range(len(names))):
            names = [names[index] for index in range(len(names))]
        if not isinstance(names, list) or not names:
            raise DataError(
                "data.yaml holds no class names",
                where=str(path),
                remedy="it needs a list 'names:' in the order of the class numbers of the label files",
            )
        return [str(name) for name in names]

    @staticmethod
    def _folders(root: Path, split: Split) -> list[tuple[Path, Path]]:
        """The (images, labels) folders of a split that exist."""
        pairs = []
        for name in _SPLIT_FOLDERS[split]:
            pairs += [
                (root / name / "images", root / name / "labels"),
                (root / "images" / name, root / "labels" / name),
            ]
        return [pair for pair in pairs if pair[1].is_dir()]

    def _of_image(
        self, root: Path, image: Path, label_file: Path, names: list[str], split: Split, log: ReadLog
    ) -> Iterator[RawSample]:
        try:
            classes = parse_labels(label_file.read_text(encoding="utf-8"), len(names))
        except (OSError, ValueError) as error:
            log.refuse(label_file.relative_to(root).as_posix(), str(error))
            return
        if not classes:
            log.pass_over(NO_TARGET)
        wheres = phrases([[_part(polygon) for polygon in polygons] for polygons in classes.values()])
        for (index, polygons), where in zip(classes.items(), wheres, strict=True):
            yield RawSample(
                image=image,
                mask=MaskPolygons(tuple(polygons), "fraction"),
                label=names[index],
                target=self.target,
                group=photograph(image.stem),
                key=f"{image.relative_to(root).as_posix()}#{names[index]}",
                split=split,
                where=where,
            )

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        for folders in _SPLIT_FOLDERS.values():
            (root / folders[0] / "images").mkdir(parents=True, exist_ok=True)
            (root / folders[0] / "labels").mkdir(parents=True, exist_ok=True)
        names = list(self.written_names)
        header = "".join(f"{split}: {folders[0]}/images\n" for split, folders in _SPLIT_FOLDERS.items())
        (root / "data.yaml").write_text(f"{header}\nnc: {len(names)}\nnames: {names}\n", encoding="utf-8")
        for case in cases:
            folder = root / _SPLIT_FOLDERS[case.split][0]
            stem = f"{case.group}_jpg.rf.{digest_bytes(case.name.encode())[:32]}"
            save_image(folder / "images" / f"{stem}.jpg", case.image)
            (folder / "labels" / f"{stem}.txt").write_text("\n".join(self._lines(case, names)), encoding="utf-8")

    def _lines(self, case: PhantomCase, names: list[str]) -> Iterator[str]:
        height, width = case.image.shape[:2]
        for structure in case.structures:
            index = names.index(self.vocabulary.spelling(structure.label))
            for polygon in outlines(structure.mask):
                numbers = " ".join(f"{x / width:.7f} {y / height:.7f}" for x, y in polygon)
                yield f"{index} {numbers}"
