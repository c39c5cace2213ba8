"""A checkpoint of one or many files, safetensors or PyTorch's own, read one tensor at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from sim4seg.errors import ModelError
from sim4seg.model.weights.bounded_json import read_object
from sim4seg.model.weights.safetensors_file import read_header
from sim4seg.model.weights.tensor_info import TensorInfo
from sim4seg.model.weights.torch_file import open_torch

LAYOUTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""What a checkpoint begins with, in the order in which transformers looks for it: what is checked is what it reads."""
SUFFIXES = {".safetensors": "safetensors", ".bin": "torch", ".pth": "torch", ".pt": "torch"}


class Checkpoint:
    """Named tensors on disk. Data are mapped; at most one file is open.

    Attributes:
        files: in the order of their names.
        tensors: by name, in the order of files, then of names.
    """

    def __init__(self, files: list[Path]) -> None:
        """Look at every file.

        Args:
            files: the files; no tensor may be in two of them.

        Raises:
            ModelError: a file is damaged or is refused, or a name comes twice.
        """
        self.files = sorted(files, key=lambda file: file.name)
        self.tensors: dict[str, TensorInfo] = {}
        self._opened: tuple[str, Any] = ("", None)
        for file in self.files:
            tensors = _describe(file)
            twice = sorted(tensors.keys() & self.tensors.keys())
            if twice:
                raise ModelError(
                    f"{twice[0]!r} is in two files", where=str(file), remedy="give the files of one checkpoint"
                )
            self.tensors |= dict(sorted(tensors.items()))

    def read(self, name: str) -> Tensor:
        """One tensor, mapped from its file."""
        file = next(file for file in self.files if file.name == self.tensors[name].file)
        if self._opened[0] != file.name:
            safe = SUFFIXES[file.suffix] == "safetensors"
            self._opened = (file.name, safe_open(file, "pt") if safe else open_torch(file))
        opened = self._opened[1]
        tensor: Tensor = opened[name] if isinstance(opened, dict) else opened.get_tensor(name)
        return tensor


def _describe(file: Path) -> dict[str, TensorInfo]:
    if SUFFIXES[file.suffix] == "safetensors":
        return read_header(file)
    return {name: TensorInfo(tuple(t.shape), t.dtype, file.name) for name, t in open_torch(file).items()}


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, laid out as ``save_pretrained`` does; safetensors are preferred.

    Raises:
        ModelError: nothing there, a part missing or damaged, or an index that is wrong.
    """
    for name in LAYOUTS:
        if (folder / name).is_file():
            return _open_indexed(folder / name) if name.endswith(".json") else Checkpoint([folder / name])
    raise ModelError(
        f"no weights: none of {', '.join(LAYOUTS)}",
        where=str(folder),
        remedy="give the folder of a checkpoint",
    )


def _open_indexed(index: Path) -> Checkpoint:
    content = read_object(index)
    listed = content.get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise ModelError("the index has no weight_map", where=str(index), remedy="download the index again")
    files = [_shard(index, name) for name in sorted({str(name) for name in listed.values()})]
    metadata = content.get("metadata")
    claimed = metadata.get("total_size", 0) if isinstance(metadata, dict) else 0
    present = sum(file.stat().st_size for file in files)
    if not isinstance(claimed, int | float) or claimed > present:
        raise ModelError(
            f"the index claims {claimed:,} bytes of weights; its files have {present:,}"
            if isinstance(claimed, int | float)
            else "the index's total_size is not a number",
            where=str(index),
            remedy="download the missing rest",
        )
    checkpoint = Checkpoint(files)
    stored = {name: info.file for name, info in checkpoint.tensors.items()}
    wrong = sorted(name for name in listed.keys() | stored.keys() if listed.get(name) != stored.get(name))
    if wrong:
        name = wrong[0]
        raise ModelError(
            f"the index and its files disagree on {len(wrong)} tensors; the first: {name!r} is listed in "
            f"{listed.get(name, 'no file')} and found in {stored.get(name, 'no file')}",
            where=str(index),
            remedy="download index and files of one revision",
        )
    return checkpoint


def _shard(index: Path, name: str) -> Path:
    """The file that an index names; only a bare name beside the index will do."""
    bare = name == Path(name).name and "\\" not in name and Path(name).suffix in SUFFIXES
    if not bare:
        raise ModelError(
            f"the index names a file {name!r}; only files beside it are read",
            where=str(index),
            remedy="check where it comes from",
        )
    if not (index.parent / name).is_file():
        raise ModelError(f"{name} is missing", where=str(index.parent), remedy="download it")
    return index.parent / name
