"""DDTI: thyroid ultrasound with nodule masks and no diagnosis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sim4seg.data.adapters.base import Adapter, ReadLog, image_files, register
from sim4seg.data.sample import MaskFiles, RawSample


@register
class Ddti(Adapter):
    """DDTI (Pedraza L. et al., SPIE 9287, 2015), as reworked for TN-SCUI 2020: ``image/N.PNG`` and ``mask/N.PNG``.

    The publisher of this copy says that its category file is forged, so it is never read: the label of every image
    is the finding itself, "thyroid nodule".
    """

    key = "ddti"
    folder = "DDTI"
    modality = "ultrasound"
    title = "DDTI thyroid ultrasound"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        for image in image_files(root / "image"):
            yield RawSample(
                image=image,
                mask=MaskFiles((root / "mask" / image.name,)),
                label="thyroid nodule",
                target="thyroid nodule",
                group=image.stem,
                key=image.relative_to(root).as_posix(),
            )
