"""PyTorch's own files (.bin, .pth, .pt): a zip of raw data and a pickle, of which only plain tensors are taken."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from sim4seg.errors import ModelError

LARGEST_PICKLE = 64 * 2**20
"""Bytes of the part that names the tensors; a 70-billion-parameter checkpoint needs less than 1 MB."""

AGAIN = "download the file again, and compare its size and digest with the published ones"


def _check_zip(path: Path) -> None:
    """Refuse what could take more memory than the file is long, before PyTorch sees it."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        begins_as_zip = stream.read(4) == b"PK\x03\x04"
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        what = "the file is cut short" if begins_as_zip else "not a PyTorch file, or of a PyTorch before 1.6"
        remedy = AGAIN if begins_as_zip else "write it again with torch.save of a current PyTorch, or as safetensors"
        raise ModelError(f"{what}: {error}", where=str(path), remedy=remedy) from error
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or sum(entry.file_size for entry in entries) > size:
        raise ModelError(
            f"the file would unpack to more than its own {size:,} bytes; PyTorch never packs",
            where=str(path),
            remedy=AGAIN,
        )
    if any(entry.filename.endswith(".pkl") and entry.file_size > LARGEST_PICKLE for entry in entries):
        raise ModelError(f"the list of tensors is larger than {LARGEST_PICKLE:,} bytes", where=str(path), remedy=AGAIN)


def open_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, mapped and not yet read; nothing in it is executed.

    Raises:
        ModelError: cut short, of an old form, packed, or it holds anything but tensors under names.
    """
    _check_zip(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # PyTorch has no one class for this; whatever it was, nothing has been run
        raise ModelError(
            f"refused, nothing in it was run: the file does not hold tensors only ({str(error).splitlines()[0][:200]})",
            where=str(path),
            remedy="take weights from a source you trust, as safetensors where there is a choice",
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"a table of tensors is expected, not {type(value).__name__}", where=str(path), remedy="give a state dict"
        )
    size = path.stat().st_size
    for name, tensor in value.items():
        plain = isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
        if not plain or tensor.is_quantized or tensor.numel() * tensor.element_size() > size:
            raise ModelError(
                f"{name!r} is not a plain tensor that this file could hold", where=str(path), remedy="give a state dict"
            )
    return {name: tensor.detach() for name, tensor in value.items()}
