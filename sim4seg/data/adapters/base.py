"""What an adapter is: a dataset's own layout on disk in, one ``RawSample`` an (image, target) pair out."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar, TypeVar

from sim4seg.data.dataset_vocabulary import DatasetVocabulary, load_vocabulary
from sim4seg.data.sample import PhantomCase, RawSample

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm"})

MISSING_IMAGE = "listed, but the image is not there"
NO_TARGET = "no target annotated"
NO_LABEL = "no label"

_LONGEST_NAME = 255
"""Bytes that file systems allow for a name; a longer one in a table is not a file's."""

_log = logging.getLogger(__name__)


@dataclass
class ReadLog:
    """What an adapter did not turn into a sample, and why.

    Attributes:
        passed_over: counts by reason of what is normal (a listed image of a partial copy, an image without findings).
        unusable: (file relative to the dataset's folder, reason) of what is wrong, for ingest to quarantine.
    """

    passed_over: Counter[str] = field(default_factory=Counter)
    unusable: list[tuple[str, str]] = field(default_factory=list)

    def pass_over(self, reason: str) -> None:
        """Count one thing that normally gives no sample."""
        self.passed_over[reason] += 1

    def refuse(self, file: str, reason: str) -> None:
        """Note one file (relative to the dataset's folder) that is wrong."""
        self.unusable.append((file, reason))


class Adapter(ABC):
    """Reads one dataset in the layout its publishers gave it.

    A subclass sets the class attributes and writes ``samples``. Its docstring cites the dataset.

    Attributes:
        key: short name, also that of ``sim4seg/data/vocabulary/<key>.yaml``.
        folder: name of the dataset's folder below the raw root; ``aliases`` are accepted too.
        modality: one of ``sim4seg.data.sample.MODALITIES``.
        title: the dataset's name.
    """

    key: ClassVar[str]
    folder: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    modality: ClassVar[str]
    title: ClassVar[str]

    def directory(self, raw_root: Path) -> Path:
        """The dataset's folder below ``raw_root``: the first accepted name that exists, else ``folder``."""
        for name in (self.folder, *self.aliases):
            if (raw_root / name).is_dir():
                return raw_root / name
        return raw_root / self.folder

    def found(self, raw_root: Path) -> bool:
        """Whether the dataset is below ``raw_root``."""
        return self.directory(raw_root).is_dir()

    def read(self, root: Path, log: ReadLog | None = None) -> Iterator[RawSample]:
        """Yield the dataset's samples in a fixed order; no image is decoded.

        Args:
            root: the dataset's own folder, ``directory(raw_root)``.
            log: receives what was passed over or is unusable.

        Raises:
            DataError: a file that describes the whole dataset (labels, annotations) is missing or unreadable.
        """
        log = ReadLog() if log is None else log
        yield from self.samples(root, log)
        for reason, count in sorted(log.passed_over.items()):
            _log.info("%s: %d passed over: %s", self.key, count, reason)
        for file, reason in log.unusable:
            _log.warning("%s: %s: %s", self.key, file, reason)

    @abstractmethod
    def samples(self, root: Path, log: ReadLog) -> Iterator[RawSample]:
        """Yield the samples below ``root`` in a fixed order and note the rest in ``log``."""

    @property
    def vocabulary(self) -> DatasetVocabulary:
        """The dataset's labels, targets and questions."""
        return load_vocabulary(self.key)


class WritableAdapter(Adapter):
    """An adapter that can also write painted cases in its dataset's layout."""

    @abstractmethod
    def write(self, root: Path, cases: Iterable[PhantomCase]) -> None:
        """Write ``cases`` below ``root`` (the dataset's own folder) so that ``read`` gives them back.

        Cases are taken one at a time and never held. A label is written in the dataset's own spelling. A layout
        without an official split, or without one part of it, drops that information.

        Raises:
            BadSample: a case has a label the vocabulary does not know.
        """


_registered: dict[str, Adapter] = {}
_Class = TypeVar("_Class", bound=type[Adapter])


def register(adapter: _Class) -> _Class:
    """Class decorator: make one instance of the adapter known under its key."""
    if adapter.key in _registered:
        raise ValueError(f"two adapters are called {adapter.key!r}")
    _registered[adapter.key] = adapter()
    return adapter


def registered() -> dict[str, Adapter]:
    """All registered adapters in the order of their keys."""
    return dict(sorted(_registered.items()))


def image_files(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, sorted by name; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def listed_file(folder: Path, name: str) -> Path | None:
    """The path of a file that metadata name, or None if the name is empty or leads out of ``folder``."""
    parts = PurePosixPath(name).parts
    too_long = len(name.encode(errors="surrogatepass")) > _LONGEST_NAME
    unsafe = too_long or not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    return None if unsafe else folder.joinpath(*parts)
