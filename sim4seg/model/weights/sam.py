"""SAM's and MedSAM's published files, or the SAM of a Sim4Seg model, into our segmenter."""

from __future__ import annotations

from pathlib import Path

import torch

from sim4seg.digest import digest_file
from sim4seg.errors import ModelError
from sim4seg.model.segmenter import Segmenter
from sim4seg.model.weights.checkpoint import SUFFIXES, Checkpoint, open_checkpoint
from sim4seg.model.weights.pinned_folder import check_folder
from sim4seg.model.weights.sam_sizes import sam_sizes

PUBLISHED = {
    "sam_vit_h_4b8939.pth": "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    "sam_vit_l_0b3195.pth": "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    "mobile.safetensors": "f1dd73bb4fceaf05fa9fd9aa4e84e38533bc84a48e3bc59401f28455bb0d6b7d",
    "sam_vit_b_01ec64.pth": "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
}
"""SHA-256 of Meta's files, as several public projects that pin them agree, and of what `sim4seg make-mobile` writes.
MedSAM's publishers give none."""

NOT_WEIGHTS = ("pixel_mean", "pixel_std")


MODEL_PREFIX = "segmenter."
FUSION = "fusion."


def load_sam(segmenter: Segmenter, path: Path, sha256: str | None = None) -> None:
    """Fill the segmenter with the weights of a file or of a model, in place, in the segmenter's element type.

    Args:
        segmenter: of the source's sizes; for a file without a convolutional stem (SAM ViT-H, L or B; MedSAM is a B).
        path: ``.pth`` of plain tensors or ``.safetensors``, names as in segment_anything; or the folder of a Sim4Seg
            model, of which only SAM is read.
        sha256: what the file must be, which may be left out for the names of :data:`PUBLISHED`; or of a folder its
            :func:`sim4seg.digest.digest_directory`, compared if it is given.

    Raises:
        ModelError: another digest, or none to compare a file with; a damaged file, code in it, other sizes, or weights
            that are missing, unknown or of another shape; the segmenter is unchanged then.
    """
    checkpoint, prefix = _of_model(path, sha256) if path.is_dir() else _of_file(path, sha256)
    names = [name for name in checkpoint.tensors if name.startswith(prefix) and name not in NOT_WEIGHTS]
    stored = {name.removeprefix(prefix): checkpoint.tensors[name].shape for name in names}
    targets = segmenter.state_dict()
    our_shapes = {name: tuple(tensor.shape) for name, tensor in targets.items()}
    if not any(name.startswith(FUSION) for name in stored):  # which begins by adding nothing
        our_shapes = {name: shape for name, shape in our_shapes.items() if not name.startswith(FUSION)}
    if not prefix and segmenter.fusion is None:
        _check_sizes(stored, our_shapes, path)
    _check_shapes(stored, our_shapes, path)
    with torch.no_grad():
        for name in stored:
            targets[name].copy_(checkpoint.read(prefix + name))


def _of_file(path: Path, sha256: str | None) -> tuple[Checkpoint, str]:
    _check_digest(path, sha256)
    return Checkpoint([path]), ""


def _of_model(folder: Path, sha256: str | None) -> tuple[Checkpoint, str]:
    """A model's checkpoint, and what the names of its SAM start with."""
    if sha256:
        check_folder(folder, sha256, "train.weights.sam_sha256")
    checkpoint = open_checkpoint(folder)
    if not any(name.startswith(MODEL_PREFIX) for name in checkpoint.tensors):
        raise ModelError("there is no SAM in it", where=str(folder), remedy="give the folder of a Sim4Seg model")
    return checkpoint, MODEL_PREFIX


def _check_digest(path: Path, sha256: str | None) -> None:
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise ModelError(
            "no such file of weights", where=str(path), remedy=f"give a file that ends in {', '.join(SUFFIXES)}"
        )
    expected, digest = (sha256 or PUBLISHED.get(path.name, "")).lower(), digest_file(path)
    if not expected:
        raise ModelError(
            f"no digest is known for a file named {path.name}; its SHA-256 is {digest}",
            where=str(path),
            remedy="compare it with its publisher's; where none is given, as for MedSAM, and you trust where the file "
            "came from, give that one as train.weights.sam_sha256",
        )
    if digest != expected:
        raise ModelError(
            f"the file is not the one asked for: SHA-256 {digest}, expected {expected}",
            where=str(path),
            remedy="download it again, or give the digest of the file that you mean",
        )


def _check_sizes(stored: dict[str, tuple[int, ...]], our_shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    theirs, ours = sam_sizes(stored, str(path)), sam_sizes(our_shapes, "the segmenter")
    other = [f"{name} {theirs[name]}, wanted {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if other:
        raise ModelError(
            f"the file holds a SAM of other sizes: {'; '.join(other)}",
            where=str(path),
            remedy="give the file of the preset's SAM: ViT-H for paper, ViT-B for medsam",
        )


def _check_shapes(stored: dict[str, tuple[int, ...]], our_shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    wrong = [
        f"{name}: stored {stored.get(name, 'nothing')}, wanted {our_shapes.get(name, 'nothing')}"
        for name in sorted(stored.keys() | our_shapes.keys())
        if stored.get(name) != our_shapes.get(name)
    ]
    if wrong:
        raise ModelError(
            f"{len(wrong)} weights do not fit: {'; '.join(wrong[:20])}",
            where=str(path),
            remedy="give a whole SAM of the preset's build",
        )
