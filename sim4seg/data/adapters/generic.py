"""A user's own data: images, masks of the same name, and a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sim4seg.data.adapters.base import MISSING_IMAGE, NO_LABEL, Adapter, ReadLog, image_files, listed_file, register
from sim4seg.data.adapters.tables import read_rows
from sim4seg.data.sample import MODALITIES, SPLITS, MaskFiles, RawSample, Split

_SPLIT_NAMES: dict[str, Split | None] = {"": None, "valid": "val", **{name: name for name in SPLITS}}


@register
class Generic(Adapter):
    """A user's own data in the folder ``generic``: ``images/``, ``masks/`` and ``labels.csv``.

    ``labels.csv`` has the columns ``image`` (file name in ``images/``, with or without its ending) and ``label``
    and, where wanted:

    - ``target``: what the question asks for; "lesion" if empty.
    - ``mask``: file name in ``masks/``; if empty, the file with the image's stem. An image with several targets has
      a row and a mask for each.
    - ``normal``: 1 for an image without a lesion, which then needs no mask.
    - ``group``: patient, so that no patient falls into two splits; the image's stem if empty.
    - ``split``: train, val or test; drawn by ingest if empty.

    - ``question``: asked as it stands; made from a template if empty.
    - ``modality``: one of ``sim4seg.data.sample.MODALITIES``; X-ray if empty.

    Other columns are not read. Labels are open: they are taken as they are, in lower case.
    """

    key = "generic"
    folder = "generic"
    modality = "X-ray"
    title = "own data"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        images = {path.stem: path for path in image_files(root / "images")}
        masks = {path.stem: path for path in image_files(root / "masks")}
        rows = read_rows(root / "labels.csv", ("image", "label"))
        for row in sorted(rows, key=lambda row: (row["image"], row.get("target", ""), row.get("mask", ""))):
            name = row["image"]
            named = listed_file(root / "images", name)
            mask_name = row.get("mask") or f"{Path(name).stem}.png"
            mask = listed_file(root / "masks", mask_name)
            split = row.get("split", "").casefold()
            modality = row.get("modality") or self.modality
            if named is None or mask is None or split not in _SPLIT_NAMES or modality not in MODALITIES:
                values = f"image {name!r}, mask {mask_name!r}, split {split!r}, modality {modality!r}"
                log.refuse("labels.csv", f"not a usable row: {values}")
                continue
            image = named if named.is_file() else images.get(name)
            if image is None:
                log.pass_over(MISSING_IMAGE)
                continue
            if not row["label"]:
                log.pass_over(NO_LABEL)
                continue
            if not row.get("mask"):
                mask = masks.get(image.stem, mask)
            target = row.get("target") or self.vocabulary.targets[0]
            yield RawSample(
                image=image,
                mask=MaskFiles(() if row.get("normal") == "1" else (mask,)),
                label=row["label"],
                target=target,
                group=row.get("group") or image.stem,
                key=f"images/{image.name}#{target}#{mask.name}",
                split=_SPLIT_NAMES[split],
                question=row.get("question") or "",
                modality=modality,
            )
