"""Whatever a decoder raises becomes a refusal of the one file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim4seg.errors import BadSample

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def reason_of(error: BaseException) -> str:
    """An exception's words, the same in two runs: without addresses in memory. Its type where it has no words."""
    return ADDRESS.sub("", " ".join(str(error).split())) or type(error).__name__


@contextmanager
def decoding(kind: str, path: Path) -> Iterator[None]:
    """Read a file inside; its decoder's warnings are silent.

    Decoders meet damaged files with whatever goes wrong first: wrong types, overflows, missing attributes. None of them
    may end the work on all other files.

    Args:
        kind: of the file, for the message.
        path: the file.

    Raises:
        BadSample: any exception but one that asks the program to stop; a refusal of one's own stays as it is.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadSample:
        raise
    except FileNotFoundError as error:
        raise BadSample("the file is missing", where=path.name, remedy="restore it or drop its entry") from error
    except Exception as error:
        raise BadSample(
            f"unreadable {kind}: {reason_of(error)}", where=path.name, remedy="export it again; it may be cut short"
        ) from error


def regular_file(path: Path) -> None:
    """Refuse what is no file: a pipe would keep its reader waiting for ever.

    Raises:
        BadSample: a folder, pipe, socket or device; or nothing is there.
    """
    with decoding("file", path):
        path.stat()
    if not path.is_file():
        raise BadSample("not a regular file", where=path.name, remedy="put a copy of the file there")
