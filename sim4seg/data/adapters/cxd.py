"""ChestX-Det: chest X-rays with polygons of thirteen findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sim4seg.data.adapters.base import MISSING_IMAGE, NO_TARGET, ReadLog, WritableAdapter, listed_file, register
from sim4seg.data.adapters.pictures import image_size, save_image
from sim4seg.data.adapters.polygons import Polygon, area_and_centroid, bounding_box, outlines
from sim4seg.data.adapters.tables import read_json, write_json_file
from sim4seg.data.place_phrases import Part, grid_phrases
from sim4seg.data.sample import MaskPolygons, PhantomCase, RawSample, Split
from sim4seg.errors import DataError

_PARTS: tuple[Split, ...] = ("train", "test")
_PUBLISHED_SIZE = (1024, 1024)
_FARTHEST = 100_000.0
"""Pixels; farther points (or nan) are mistakes."""


def _findings(entry: dict[str, Any]) -> dict[str, list[Polygon]]:
    """The polygons of an entry by finding, in the order of the findings' names.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: the entry is malformed.
    """
    polygons_by_name: dict[str, list[Polygon]] = {}
    for name, points in zip(entry["syms"], entry["polygons"], strict=True):
        polygon = tuple((float(x), float(y)) for x, y in points)
        if len(polygon) < 3 or not all(abs(value) <= _FARTHEST for point in polygon for value in point):
            raise ValueError(f"a polygon of {name} has fewer than three points or some far outside any image")
        polygons_by_name.setdefault(str(name), []).append(polygon)
    return dict(sorted(polygons_by_name.items()))


def _part(polygon: Polygon, size: tuple[int, int]) -> Part:
    width, height = size
    area, (x, y) = area_and_centroid(polygon)
    return Part(x / width, y / height, area / (width * height))


@register
class ChestXDet(WritableAdapter):
    """ChestX-Det (Lian J. et al., arXiv 2104.10326; images from NIH ChestX-ray14).

    3,578 images of 1024 x 1024. One sample for each finding of an image, its polygons united; the question asks for
    the abnormality at a place, because naming it would give the diagnosis away. Images without findings have no
    target and are passed over. The layout has no validation part.
    """

    key = "cxd"
    folder = "ChestX-Det"
    aliases = ("ChestX-Det-Dataset", "ChestXDet")
    modality = "X-ray"
    title = "ChestX-Det"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        for part in _PARTS:
            file = root / f"ChestX_Det_{part}.json"
            entries = read_json(file)
            if not isinstance(entries, list) or not all(isinstance(e, dict) and "file_name" in e for e in entries):
                raise DataError(
                    "not an annotation file of ChestX-Det",
                    where=str(file),
                    remedy="it must be a list of {file_name, syms, boxes, polygons}; restore it",
                )
            for entry in sorted(entries, key=lambda entry: str(entry["file_name"])):
                yield from self._of_image(root, entry, part, log)

    def _of_image(self, root: Path, entry: dict[str, Any], split: Split, log: ReadLog) -> Iterator[RawSample]:
        name = str(entry["file_name"])
        image = listed_file(root / f"{split}_data", name)
        try:
            findings = _findings(entry)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            log.refuse(f"{split}_data/{name}", f"malformed annotation: {error}")
            return
        if image is None:
            log.refuse(f"ChestX_Det_{split}.json", f"file name {name!r} leads out of the dataset")
            return
        if not findings or not image.is_file():
            log.pass_over(MISSING_IMAGE if findings else NO_TARGET)
            return
        size = image_size(image) or _PUBLISHED_SIZE
        wheres = grid_phrases([[_part(polygon, size) for polygon in outlines] for outlines in findings.values()])
        for (label, polygons), where in zip(findings.items(), wheres, strict=True):
            yield RawSample(
                image=image,
                mask=MaskPolygons(tuple(polygons), "pixel", size),
                label=label,
                target="abnormality",
                group=image.stem,
                key=f"{image.relative_to(root).as_posix()}#{label}",
                split=split,
                where=where,
            )

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        entries: dict[Split, list[dict[str, Any]]] = {part: [] for part in _PARTS}
        for folder in _PARTS:
            (root / f"{folder}_data").mkdir(parents=True, exist_ok=True)
        for case in cases:
            part: Split = "test" if case.split == "test" else "train"
            name = f"{case.name}.png"
            save_image(root / f"{part}_data" / name, case.image)
            entries[part].append({"file_name": name, **self._annotation(case)})
        for split, images in entries.items():
            write_json_file(root / f"ChestX_Det_{split}.json", images)

    def _annotation(self, case: PhantomCase) -> dict[str, Any]:
        syms, boxes, polygons = [], [], []
        for structure in case.structures:
            for outline in outlines(structure.mask):
                polygon = tuple((round(x, 1), round(y, 1)) for x, y in outline)
                syms.append(self.vocabulary.spelling(structure.label))
                boxes.append(list(bounding_box(polygon)))
                polygons.append([list(point) for point in polygon])
        return {"syms": syms, "boxes": boxes, "polygons": polygons}
