"""COVID-19 chest X-ray segmentations: region masks as crops that a table places on the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sim4seg.data.adapters.base import MISSING_IMAGE, NO_LABEL, NO_TARGET, Adapter, ReadLog, listed_file, register
from sim4seg.data.adapters.tables import read_rows
from sim4seg.data.sample import MaskCrops, RawSample

_NO_DIAGNOSIS = frozenset({"", "todo", "unknown"})
_RENAMED = {"nosogastric tube": "nasogastric tube"}
"""The table's misspelling."""

_Row = dict[str, str]


def _canvas(row: _Row) -> tuple[int, int]:
    """(width, height) from a row's Resolution, ``943x751``.

    Raises:
        ValueError: it is something else.
    """
    width, _, height = row["Resolution"].partition("x")
    size = int(width), int(height)
    if min(size) < 1:
        raise ValueError(f"Resolution is {row['Resolution']}, but width and height must be 1 or more")
    return size


@register
class CovidChestXray(Adapter):
    """COVID-19 Chest X-ray Segmentations (GeneralBlockchain 2020) over Cohen J. P. et al., arXiv 2003.11597.

    One sample for each (image, region), the region's crops united; the label is the finding of the image. Rows
    without a mask (points) are passed over, and images whose finding is open ("todo", "Unknown").
    """

    key = "covid"
    folder = "covid-cxr"
    aliases = ("covid-19-chest-xray-segmentations-dataset",)
    modality = "X-ray"
    title = "COVID-19 chest X-ray segmentations"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        metadata = {row["filename"]: row for row in read_rows(root / "metadata.csv", ("filename", "finding"))}
        table = read_rows(root / "structure.csv", ("Class", "Filename", "Mask", "Resolution", "Top", "Left"))
        rows: dict[tuple[str, str], list[_Row]] = {}
        for row in table:
            region = row["Class"].removeprefix("COVID-19 ").casefold()
            if row["Mask"]:
                rows.setdefault((row["Filename"], _RENAMED.get(region, region)), []).append(row)
            else:
                log.pass_over(NO_TARGET)
        for (name, region), parts in sorted(rows.items()):
            image = listed_file(root / "images", name)
            about = metadata.get(name, {})
            label = about.get("finding", "")
            if image is None:
                log.refuse("structure.csv", f"file name {name!r} leads out of the dataset")
            elif not image.is_file():
                log.pass_over(MISSING_IMAGE)
            elif label.casefold() in _NO_DIAGNOSIS:
                log.pass_over(NO_LABEL)
            elif mask := self._mask(root, name, parts, log):
                group = about.get("patientid") or image.stem
                key = f"images/{name}#{region}"
                yield RawSample(image=image, mask=mask, label=label, target=region, group=group, key=key)

    @staticmethod
    def _mask(root: Path, name: str, parts: list[_Row], log: ReadLog) -> MaskCrops | None:
        try:
            crops = [(listed_file(root, row["Mask"]), int(row["Left"]), int(row["Top"])) for row in parts]
            sizes = sorted({_canvas(row) for row in parts})
        except ValueError as error:
            log.refuse(f"images/{name}", f"malformed row in structure.csv: {error}")
            return None
        inside = tuple((path, left, top) for path, left, top in crops if path is not None)
        if len(inside) < len(crops) or len(sizes) != 1:
            log.refuse(f"images/{name}", "its rows in structure.csv name files elsewhere or two resolutions")
            return None
        return MaskCrops(inside, sizes[0])
