"""A user's own data: images, masks of the same name, and a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sim4seg.data.adapters.base import MISSING_IMAGE, NO_LABEL, Adapter, ReadLog, listed_file, register
from sim4seg.data.adapters.cell_words import present, whole_numbers, yes
from sim4seg.data.adapters.named_files import NamedFiles, without_ending
from sim4seg.data.adapters.tables import SURPLUS, read_rows
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
    - ``mask_values``: the values in the mask that are lesion, such as ``1;2``; where empty,
      ``sim4seg.data.mask_meaning`` decides, or refuses.
    - ``normal``: 1 (or true, yes) for an image without a lesion, which then needs no mask.
    - ``group``: patient, so that no patient falls into two splits; the image's stem, with its subfolder, if empty.
    - ``split``: train, val or test; drawn by ingest if empty.

    - ``question``: asked as it stands; made from a template if empty.
    - ``modality``: one of ``sim4seg.data.sample.MODALITIES``; X-ray if empty.

    Comma, semicolon or tab between the cells; UTF-8 or UTF-16. Images may lie in subfolders of ``images/``, their
    masks then in the same subfolders of ``masks/``. Cells like nan, NULL or NA are empty, so that a row whose label is
    such a word has none. Other columns are not read. Labels are open: they are taken as they are, in lower case.
    """

    key = "generic"
    folder = "generic"
    modality = "X-ray"
    title = "own data"

    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        images, masks = NamedFiles(root / "images"), NamedFiles(root / "masks")
        rows = read_rows(root / "labels.csv", ("image", "label"))
        for row in sorted(rows, key=lambda row: (row["image"], row.get("target", ""), row.get("mask", ""))):
            if reason := self._fault(root, row):
                log.refuse("labels.csv", f"not a usable row: image {row['image']!r}: {reason}")
                continue
            image = images.find(row["image"])
            if image is None:
                log.pass_over(MISSING_IMAGE)
            elif not present(row["label"]):
                log.pass_over(NO_LABEL)
            else:
                yield self._sample(root, row, image, masks)

    def _fault(self, root: Path, row: dict[str, str]) -> str:
        """What is wrong with a row of the table, "" if nothing is."""
        mask, split, modality = (present(row.get(name, "")) for name in ("mask", "split", "modality"))
        if SURPLUS in row:
            return f"more cells than the first line has ({row[SURPLUS]!r}); text with the delimiter needs quotes"
        if listed_file(root / "images", row["image"]) is None:
            return "its name is empty or leads out of images/"
        if mask and listed_file(root / "masks", mask) is None:
            return f"mask {mask!r} leads out of masks/"
        if split.casefold() not in _SPLIT_NAMES:
            return f"split {split!r} is none of {', '.join(name for name in _SPLIT_NAMES if name)}"
        if modality and modality not in MODALITIES:
            return f"modality {modality!r} is none of {', '.join(MODALITIES)}"
        for name, meaning in (("normal", yes), ("mask_values", whole_numbers)):
            try:
                meaning(row.get(name, ""))
            except ValueError as error:
                return f"{name} {error}"
        return ""

    def _sample(self, root: Path, row: dict[str, str], image: Path, masks: NamedFiles) -> RawSample:
        """The sample of a row without a fault."""
        inside = without_ending(image.relative_to(root / "images").as_posix())
        named = present(row.get("mask", ""))
        mask = masks.find(named or inside) or root / "masks" / (named or f"{inside}.png")
        target = present(row.get("target", "")) or self.vocabulary.targets[0]
        values = whole_numbers(row.get("mask_values", ""))
        suffix = f"#{';'.join(map(str, values))}" if values else ""
        return RawSample(
            image=image,
            mask=MaskFiles(()) if yes(row.get("normal", "")) else MaskFiles((mask,), values),
            label=row["label"],
            target=target,
            group=present(row.get("group", "")) or inside,
            key=f"{image.relative_to(root).as_posix()}#{target}#{mask.relative_to(root / 'masks').as_posix()}{suffix}",
            split=_SPLIT_NAMES[present(row.get("split", "")).casefold()],
            question=present(row.get("question", "")),
            modality=present(row.get("modality", "")) or self.modality,
        )
