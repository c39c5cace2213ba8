"""Kvasir-SEG: endoscopic images of polyps with JPEG masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sim4seg.data.adapters.base import NO_LABEL, ReadLog, WritableAdapter, image_files, register
from sim4seg.data.adapters.pictures import save_image, save_mask
from sim4seg.data.adapters.polygons import bounding_box, outlines
from sim4seg.data.adapters.tables import read_json, write_json_file
from sim4seg.data.sample import MaskFiles, PhantomCase, RawSample

_BOXES = "kavsir_bboxes.json"  # spelt so by its publishers


def _box_label(entry: Any) -> str | None:
    """The label that most boxes of an image carry, the first of them if several do; None without a box."""
    try:
        labels = [str(box["label"]) for box in entry["bbox"]]
    except (KeyError, TypeError):
        return None
    return Counter(labels).most_common(1)[0][0] if labels else None


@register
class KvasirSeg(WritableAdapter):
    """Kvasir-SEG (Jha D. et al., MMM 2020; simula.no, research and education).

    1,000 images; masks are JPEG with grey borders; the boxes' label is always "polyp" in the original. No official
    split.
    """

    key = "kvasir"
    folder = "Kvasir-SEG"
    aliases = ("kvasir-seg",)
    modality = "endoscopy"
    title = "Kvasir-SEG"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        boxes = read_json(root / _BOXES)
        boxes = boxes if isinstance(boxes, dict) else {}
        for image in image_files(root / "images"):
            label = _box_label(boxes.get(image.stem))
            if label is None:
                log.pass_over(NO_LABEL)
                continue
            yield RawSample(
                image=image,
                mask=MaskFiles((root / "masks" / image.name,)),
                label=label,
                target="polyp",
                group=image.stem,
                key=image.relative_to(root).as_posix(),
            )

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        boxes: dict[str, Any] = {}
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for case in cases:
            save_image(root / "images" / f"{case.name}.jpg", case.image)
            save_mask(root / "masks" / f"{case.name}.jpg", case.union(), "RGB")
            label = self.vocabulary.spelling(case.label)
            height, width = case.image.shape[:2]
            lesions = []
            for polygon in outlines(case.union()):
                corners = (round(value) for value in bounding_box(polygon))
                lesions.append({"label": label, **dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))})
            boxes[case.name] = {"height": height, "width": width, "bbox": lesions}
        write_json_file(root / _BOXES, boxes)
