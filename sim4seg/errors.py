"""Errors a user can act on: each says what went wrong, where, and what to do about it."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Iterator

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = re.compile(r"No space left on device|disk is full|PytorchStreamWriter failed|Disk quota exceeded")
"""Libraries that write through native code (safetensors, torch, SQLite) raise errors of their own on a full disk."""


class Sim4SegError(Exception):
    """A failure with a remedy.

    Args:
        what: one sentence, what is wrong.
        where: file, row, key or stage it was seen at.
        remedy: what the user can do now.
    """

    exit_code = 1
    shared = False
    """Raised alike by all processes of a training run: one of them need say it."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what, where, remedy)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where:  {self.where}")
        if self.remedy:
            lines.append(f"  remedy: {self.remedy}")
        return "\n".join(lines)


class ConfigError(Sim4SegError):
    """params.yaml is wrong; ``what`` lists every mistake found, not only the first."""

    exit_code = 2


class SourceError(Sim4SegError):
    """The raw data cannot be had: empty, missing, changed since the snapshot, or refused."""


class DataError(Sim4SegError):
    """The raw data are there, but too many of them are unusable."""


class BadSample(Sim4SegError):
    """One file is unusable; ingest quarantines it and goes on."""


class GateRefused(Sim4SegError):
    """A quality gate refused; the report is on disk and nothing downstream may run."""

    exit_code = 3


class ModelError(Sim4SegError):
    """A checkpoint, tokenizer or model input does not fit."""


class RegistryError(Sim4SegError):
    """The model registry cannot do what was asked."""


class NotPromoted(RegistryError):
    """A version is not promoted: rules failed, or somebody declined it. An answer, not a fault."""


class Unreachable(Sim4SegError):
    """A service (S3, MLflow, its database) is out of reach, timed out, or says that it is out of order or busy.

    The same command may succeed later, unchanged: flows retry this kind and no other. 75 is EX_TEMPFAIL of sysexits.h.
    """

    exit_code = 75


def exit_code_of(work: Callable[[], int | None]) -> int:
    """Do what a program is for.

    Returns:
        What ``work`` returns (None = 0); or the exit code of a :class:`Sim4SegError`, whose message goes to standard
        error.
    """
    try:
        return work() or 0
    except Sim4SegError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def explain_disk_full(error: BaseException) -> Sim4SegError | None:
    """The error to show if ``error``, or what led to it, came from a disk without room; None if it did not."""
    for one in _chain(error):
        if isinstance(one, Sim4SegError):
            continue
        if (isinstance(one, OSError) and one.errno in FULL) or FULL_WORDS.search(str(one)):
            return Sim4SegError(
                f"the disk is full: {str(one).splitlines()[0]}",
                where=str(getattr(one, "filename", None) or "this folder, or the temporary one (TMPDIR)"),
                remedy="free disk space, then run the same command again; outputs are old or whole, never half",
            )
    return None
