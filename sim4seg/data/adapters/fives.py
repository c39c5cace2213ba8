"""FIVES: fundus photographs with vessel masks; the disease is a letter of the file name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from sim4seg.data.adapters.base import ReadLog, WritableAdapter, image_files, register
from sim4seg.data.adapters.pictures import save_image, save_mask
from sim4seg.data.sample import MaskFiles, PhantomCase, RawSample, Split

_PARTS: tuple[Split, ...] = ("train", "test")
_IMAGES, _MASKS = "Original", "Ground truth"


@register
class Fives(WritableAdapter):
    """FIVES: a fundus image dataset for vessel segmentation (Jin K. et al., Scientific Data 2022; CC BY 4.0).

    600 training and 200 test images ``N_A.png``: A age-related macular degeneration, D diabetic retinopathy,
    G glaucoma, N normal. The layout has no validation part.
    """

    key = "fives"
    folder = "FIVES"
    aliases = ("FIVES A Fundus Image Dataset for AI-based Vessel Segmentation",)
    modality = "fundus photography"
    title = "FIVES retinal vessels"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        for part in _PARTS:
            for image in image_files(root / part / _IMAGES):
                number, _, letter = image.stem.partition("_")
                key = image.relative_to(root).as_posix()
                if not number or not letter:
                    log.refuse(key, "the file name is not NUMBER_LETTER, so it has no diagnosis")
                    continue
                yield RawSample(
                    image=image,
                    mask=MaskFiles((root / part / _MASKS / image.name,)),
                    label=letter,
                    target="retinal vessels",
                    group=f"{part}/{image.stem}",
                    key=key,
                    split=part,
                )

    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        counts: Counter[str] = Counter()
        for part in _PARTS:
            (root / part / _IMAGES).mkdir(parents=True, exist_ok=True)
            (root / part / _MASKS).mkdir(parents=True, exist_ok=True)
        for case in cases:
            part = "test" if case.split == "test" else "train"
            counts[part] += 1
            name = f"{counts[part]}_{self.vocabulary.spelling(case.label)}.png"
            save_image(root / part / _IMAGES / name, case.image)
            save_mask(root / part / _MASKS / name, case.union(), "RGB")
