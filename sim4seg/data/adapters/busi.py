"""BUSI: breast ultrasound in three folders, several masks an image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from sim4seg.data.adapters.base import ReadLog, WritableAdapter, image_files, register
from sim4seg.data.adapters.pictures import save_image, save_mask
from sim4seg.data.sample import MaskFiles, PhantomCase, RawSample

_LABELS = ("benign", "malignant", "normal")
_MASK = re.compile(r"(?P<image>.*)_mask(?:_\d+)?$")
_MODES = ("1", "RGB", "RGBA")
"""The modes in which the published masks come, mixed."""


@register
class Busi(WritableAdapter):
    """Dataset of breast ultrasound images (Al-Dhabyani W. et al., Data in Brief 28, 2020, 104863).

    780 images: benign 437, malignant 210, normal 133 (their masks are black). No official split.
    """

    key = "busi"
    folder = "Dataset_BUSI_with_GT"
    aliases = ("BUSI",)
    modality = "ultrasound"
    title = "BUSI breast ultrasound"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        for label in _LABELS:
            images, masks = [], dict[str, list[Path]]()
            for path in image_files(root / label):
                if match := _MASK.match(path.stem):
                    masks.setdefault(match["image"], []).append(path)
                else:
                    images.append(path)
            for image in images:
                expected = masks.get(image.stem, [image.with_name(f"{image.stem}_mask.png")])
                yield RawSample(
                    image=image,
                    mask=MaskFiles(() if label == "normal" else tuple(expected)),
                    label=label,
                    target="breast lesion",
                    group=f"{label}/{image.stem}",
                    key=image.relative_to(root).as_posix(),
                )

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        counts: Counter[str] = Counter()
        for label in _LABELS:
            (root / label).mkdir(parents=True, exist_ok=True)
        for case in cases:
            label = self.vocabulary.spelling(case.label)
            counts[label] += 1
            stem = f"{label} ({counts[label]})"
            save_image(root / label / f"{stem}.png", case.image)
            masks = [structure.mask for structure in case.structures] or [np.zeros(case.image.shape[:2], dtype=bool)]
            for number, mask in enumerate(masks):
                name = f"{stem}_mask_{number}.png" if number else f"{stem}_mask.png"
                save_mask(root / label / name, mask, _MODES[(counts[label] + number) % len(_MODES)])
