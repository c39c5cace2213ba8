"""COCO annotation files: polygons and run lengths by image, and what is wrong with single annotations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sim4seg.data.adapters.polygons import Polygon
from sim4seg.data.adapters.tables import read_json
from sim4seg.data.run_lengths import check_counts, uncompressed
from sim4seg.data.sample import MaskPolygons, MaskRuns
from sim4seg.errors import DataError

_FARTHEST = 1e6
"""Pixels; a coordinate beyond is a mistake (as are nan and inf)."""


@dataclass
class CocoMasks:
    """What an annotation file says of its images, by the last part of their file names.

    Attributes:
        masks: of the images that have an annotation with an outline.
        faults: why an image cannot be used; such an image has no mask here.
        strays: faults of annotations that belong to no image.
    """

    masks: dict[str, MaskPolygons | MaskRuns] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)


@dataclass
class _Image:
    name: str
    size: tuple[int, int]
    polygons: list[Polygon] = field(default_factory=list)
    runs: list[tuple[tuple[int, int], tuple[int, ...]]] = field(default_factory=list)


def read_coco(path: Path) -> CocoMasks:
    """The masks of every image in a COCO annotation file; an annotation that is wrong costs its image only.

    Raises:
        DataError: missing, not JSON, or without the lists ``images`` and ``annotations``.
    """
    value = read_json(path)
    if not isinstance(value, dict) or not all(isinstance(value.get(key), list) for key in ("images", "annotations")):
        raise DataError(
            "not a COCO annotation file: it needs the lists images and annotations",
            where=str(path),
            remedy="restore it from the dataset's download",
        )
    found = CocoMasks()
    images = _images(value["images"], found)
    for number, annotation in enumerate(value["annotations"], start=1):
        image = images.get(_id(annotation.get("image_id"))) if isinstance(annotation, dict) else None
        if image is None:
            found.strays.append(f"annotation {number} belongs to no image of the file")
            continue
        try:
            _add(image, annotation.get("segmentation"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            found.faults.setdefault(image.name, f"annotation {number}: {error}")
    for image in images.values():
        if image.name not in found.faults and (image.polygons or image.runs):
            polygons = MaskPolygons(tuple(image.polygons), "pixel", image.size)
            found.masks[image.name] = MaskRuns(tuple(image.runs), polygons) if image.runs else polygons
    return found


def _id(value: object) -> str:
    """Numbers and texts name an image alike: 7, 7.0 and "7"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _images(entries: list[Any], found: CocoMasks) -> dict[str, _Image]:
    """Images by id; entries that cannot be used are noted in ``found``."""
    images: dict[str, _Image] = {}
    owners: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            full, size = str(entry["file_name"]), (int(entry["width"]), int(entry["height"]))
            identity = _id(entry["id"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            found.strays.append(f"image {number} lacks id, file_name, width or height: {error!r}")
            continue
        name = PurePosixPath(full).name
        if min(size) < 1:
            found.faults[name] = f"its width and height are {size[0]} and {size[1]}"
        if owners.setdefault(name, full) != full:
            found.faults[name] = f"two images have this name: {owners[name]} and {full}"
        if identity in images and images[identity].name != name:
            for one in (images[identity].name, name):
                found.faults[one] = f"two images have the id {identity}"
        images[identity] = _Image(name, size)
    return images


def _add(image: _Image, segmentation: Any) -> None:
    """Add one annotation's outlines to its image.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it is neither polygons nor run lengths.
    """
    if isinstance(segmentation, dict):
        image.runs.append(_runs(segmentation))
        return
    if not isinstance(segmentation, list):
        raise ValueError("segmentation is neither a list of polygons nor run lengths")
    polygons = [_polygon(flat) for flat in segmentation]
    if polygons and max(map(len, polygons)) < 3:
        raise ValueError("a polygon needs three points or more, as x1, y1, x2, y2, x3, y3")
    image.polygons += polygons


def _polygon(flat: Any) -> Polygon:
    if not isinstance(flat, list) or len(flat) % 2:
        raise ValueError("a polygon is a list of an even number of coordinates")
    points = [float(number) for number in flat]
    if not all(math.isfinite(number) and abs(number) <= _FARTHEST for number in points):
        raise ValueError("a polygon has a coordinate that no image has")
    return tuple(zip(points[::2], points[1::2], strict=True))


def _runs(value: dict[str, Any]) -> tuple[tuple[int, int], tuple[int, ...]]:
    """((width, height), counts) of COCO's ``{"size": [height, width], "counts": ...}``, compressed or not."""
    height, width = (int(number) for number in value["size"])
    counts = value["counts"]
    if isinstance(counts, str):
        counts = uncompressed(counts)
    elif not isinstance(counts, list) or not all(type(count) is int for count in counts):
        raise ValueError("the counts of run lengths are neither whole numbers nor a text")
    check_counts(counts, (width, height))
    return (width, height), tuple(counts)
