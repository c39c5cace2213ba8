"""FracAtlas: X-rays with fractures in a COCO annotation file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sim4seg.data.adapters.base import MISSING_IMAGE, NO_TARGET, ReadLog, WritableAdapter, listed_file, register
from sim4seg.data.adapters.coco import read_coco
from sim4seg.data.adapters.pictures import save_image
from sim4seg.data.adapters.polygons import Polygon, area_and_centroid, bounding_box, outlines
from sim4seg.data.adapters.tables import read_rows, write_json_file, write_rows
from sim4seg.data.sample import SPLITS, MaskFiles, MaskSpec, PhantomCase, RawSample, Split

_COCO = Path("Annotations", "COCO JSON", "COCO_fracture_masks.json")
_SPLITS = Path("Utilities", "Fracture Split")
_SPLIT_FILES: dict[Split, str] = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}
_FOLDERS = {"1": "Fractured", "0": "Non_fractured"}
_FLAGS = ("hand", "leg", "hip", "shoulder", "mixed", "hardware", "multiscan")
_VIEWS = ("frontal", "lateral", "oblique")


@register
class FracAtlas(WritableAdapter):
    """FracAtlas (Abedeen I. et al., Scientific Data 2023; figshare; CC BY 4.0).

    4,083 radiographs, 717 of them fractured with 922 polygons. The official split covers the fractured ones.
    """

    key = "fracatlas"
    folder = "FracAtlas"
    modality = "X-ray"
    title = "FracAtlas"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        coco = read_coco(root / _COCO)
        for stray in coco.strays:
            log.refuse(_COCO.as_posix(), stray)
        splits = self._official_split(root)
        rows = read_rows(root / "dataset.csv", ("image_id", "fractured"))
        for row in sorted(rows, key=lambda row: row["image_id"]):
            name, fractured = row["image_id"], row["fractured"]
            folder = root / "images" / _FOLDERS.get(fractured, "")
            image = listed_file(folder, name)
            if fractured not in _FOLDERS or image is None:
                log.refuse("dataset.csv", f"not a usable row: image_id {name!r}, fractured {fractured!r}")
                continue
            if not image.is_file():
                log.pass_over(MISSING_IMAGE)
                continue
            if fractured == "1" and name in coco.faults:
                log.refuse(image.relative_to(root).as_posix(), f"{_COCO.name}: {coco.faults[name]}")
                continue
            if fractured == "1" and name not in coco.masks:
                log.pass_over(NO_TARGET)
                continue
            mask: MaskSpec = coco.masks[name] if fractured == "1" else MaskFiles(())
            yield RawSample(
                image=image,
                mask=mask,
                label="fractured" if fractured == "1" else "non-fractured",
                target="bone fracture",
                group=image.stem,
                key=image.relative_to(root).as_posix(),
                split=splits.get(name),
            )

    @staticmethod
    def _official_split(root: Path) -> dict[str, Split]:
        splits: dict[str, Split] = {}
        for split in SPLITS:
            file = root / _SPLITS / _SPLIT_FILES[split]
            if file.is_file():
                splits.update({row["image_id"]: split for row in read_rows(file, ("image_id",))})
        return splits

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        for folder in _FOLDERS.values():
            (root / "images" / folder).mkdir(parents=True, exist_ok=True)
        table: list[list[object]] = []
        splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for case in cases:
            name, fractured = f"{case.name}.jpg", bool(case.structures)
            save_image(root / "images" / _FOLDERS[str(int(fractured))] / name, case.image)
            polygons = [polygon for structure in case.structures for polygon in outlines(structure.mask)]
            flags = [int(case.attributes.get(flag, 0)) for flag in _FLAGS]
            views = [int(case.attributes.get(view, int(view == "frontal"))) for view in _VIEWS]
            table.append([name, *flags, int(fractured), len(polygons), *views])
            if fractured:
                splits[case.split].append(name)
                height, width = case.image.shape[:2]
                images.append({"id": len(images) + 1, "width": width, "height": height, "file_name": name})
                annotations += [
                    _annotation(len(annotations) + n, len(images), polygon) for n, polygon in enumerate(polygons)
                ]
        categories = [{"id": 0, "name": "fractured"}]
        write_json_file(root / _COCO, {"images": images, "annotations": annotations, "categories": categories})
        header = ["image_id", *_FLAGS, "fractured", "fracture_count", *_VIEWS]
        write_rows(root / "dataset.csv", [header, *table])
        for split, names in splits.items():
            write_rows(root / _SPLITS / _SPLIT_FILES[split], [["image_id"], *([name] for name in names)])


def _annotation(number: int, image: int, polygon: Polygon) -> dict[str, Any]:
    left, top, right, bottom = bounding_box(polygon)
    return {
        "id": number,
        "iscrowd": 0,
        "image_id": image,
        "category_id": 0,
        "segmentation": [[coordinate for point in polygon for coordinate in point]],
        "bbox": [left, top, right - left, bottom - top],
        "area": area_and_centroid(polygon)[0],
    }
