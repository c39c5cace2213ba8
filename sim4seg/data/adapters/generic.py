"""A user's own data: images, masks of the same name, and a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sim4seg.data.adapters.base import MISSING_IMAGE, NO_LABEL, Adapter, ReadLog, image_files, listed_file, register
from sim4seg.data.adapters.tables import read_rows
from sim4seg.data.sample import SPLITS, MaskFiles, RawSample, Split

_SPLIT_NAMES: dict[str, Split | None] = {"": None, "valid": "val", **{name: name for name in SPLITS}}


@register
class Generic(Adapter):
    """A user's own data in the folder ``generic``.

    ``images/X.png`` (any image format), ``masks/X.png`` (same stem; none for a normal case whose row says so by
    ``target`` "none"), and ``labels.csv`` with the columns ``image,label`` and, if wanted, ``target`` (what the
    question asks for, "lesion" if empty), ``group`` (patient; the image's stem if empty) and ``split`` (train, val or
    test). Labels are open: they are taken as they are, in lower case.
    """

    key = "generic"
    folder = "generic"
    modality = "X-ray"
    title = "own data"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        images = {path.stem: path for path in image_files(root / "images")}
        masks = {path.stem: path for path in image_files(root / "masks")}
        rows = read_rows(root / "labels.csv", ("image", "label"))
        for row in sorted(rows, key=lambda row: (row["image"], row.get("target", ""))):
            name = row["image"]
            named = listed_file(root / "images", name)
            split = row.get("split", "").casefold()
            if named is None or split not in _SPLIT_NAMES:
                log.refuse("labels.csv", f"not a usable row: image {name!r}, split {split!r}")
                continue
            image = named if named.is_file() else images.get(name)
            if image is None:
                log.pass_over(MISSING_IMAGE)
                continue
            if not row["label"]:
                log.pass_over(NO_LABEL)
                continue
            target = row.get("target") or self.vocabulary.targets[0]
            yield RawSample(
                image=image,
                mask=MaskFiles((masks.get(image.stem, root / "masks" / f"{image.stem}.png"),)),
                label=row["label"],
                target=target,
                group=row.get("group") or image.stem,
                key=f"{image.relative_to(root).as_posix()}#{target}",
                split=_SPLIT_NAMES[split],
            )
