"""What the challenges of the ISIC archive have in common: skin lesions, their mask files and labels by image name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sim4seg.data.adapters.base import NO_LABEL, ReadLog
from sim4seg.data.sample import MaskFiles, RawSample, Split

MASK_ENDINGS = ("_Segmentation.png", "_segmentation.png")


def lesion_samples(
    images: Iterable[Path], masks: Path, labels: Mapping[str, str], root: Path, log: ReadLog, split: Split | None = None
) -> Iterator[RawSample]:
    """A sample for each image with a label.

    Args:
        images: files, masks not among them.
        masks: folder of the mask files.
        labels: by the image's name without its ending.
        root: the dataset's folder.
        log: counts the images without a label.
        split: the official one of all these images.
    """
    for image in images:
        if image.stem not in labels:
            log.pass_over(NO_LABEL)
            continue
        yield RawSample(
            image=image,
            mask=MaskFiles((_mask_file(masks, image.stem),)),
            label=labels[image.stem],
            target="skin lesion",
            group=image.stem,
            key=image.relative_to(root).as_posix(),
            split=split,
        )


def _mask_file(folder: Path, stem: str) -> Path:
    """The mask file of an image, in either spelling (the later one if neither is there)."""
    candidates = [folder / f"{stem}{ending}" for ending in MASK_ENDINGS]
    return next((path for path in candidates if path.is_file()), candidates[-1])
