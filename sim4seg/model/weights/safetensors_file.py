"""What a safetensors file says it holds, checked against the file before a byte of data is read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from sim4seg.errors import ModelError
from sim4seg.model.weights.tensor_info import TensorInfo

LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library itself."""

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Element types that model weights are kept in; others are refused by name."""


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(what, where=str(path), remedy="download or write the file again, and compare its size and digest")


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Names, shapes and element types of a safetensors file, without its data.

    Raises:
        ModelError: cut short, a header that claims more than the file has, or one that contradicts itself.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        claimed = int.from_bytes(stream.read(8), "little")
        if size < 8 or claimed > min(LARGEST_HEADER, size - 8):
            raise _damaged(path, f"the header claims {claimed:,} bytes; the file has {size:,}")
        raw = stream.read(claimed)
    try:
        header = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "the header is not a JSON object")
    header.pop("__metadata__", None)
    tensors, spans = {}, []
    for name, entry in header.items():
        tensors[name], span = _entry(path, name, entry)
        spans.append((*span, name))
    end = 0
    for begin, last, name in sorted(spans):
        if begin != end:  # of two tensors of one name, say, JSON keeps the second
            raise _damaged(path, f"{name!r}: data begin at {begin}, not at {end} where those before them end")
        end = last
    if end != size - 8 - claimed:
        raise _damaged(path, f"the header describes {end:,} bytes of data; the file holds {size - 8 - claimed:,}")
    return tensors


def _entry(path: Path, name: str, entry: Any) -> tuple[TensorInfo, tuple[int, int]]:
    """One tensor's description, and where its data begin and end."""
    try:
        shape = tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        dtype = DTYPES.get(entry["dtype"])
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"the header's entry {name!r} lacks a valid shape, dtype or data_offsets") from error
    if dtype is None:
        raise ModelError(
            f"{name!r} is of element type {entry['dtype']!r}",
            where=str(path),
            remedy=f"save it as one of {', '.join(DTYPES)}",
        )
    if not whole or end - begin != math.prod(shape) * dtype.itemsize:
        raise _damaged(path, f"{name!r}: shape {list(shape)} does not fit data at {begin} to {end}")
    return TensorInfo(shape, dtype, path.name), (begin, end)
