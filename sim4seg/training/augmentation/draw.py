"""What is done to one sample: drawn once, read by whoever changes pixels or words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sim4seg.config.augment import Augment

KINDS = (
    "mirror",
    "upside_down",
    "turn",
    "tilt",
    "zoom",
    "brightness",
    "contrast",
    "gamma",
    "saturation",
    "hue",
    "noise",
    "blur",
    "jpeg",
)
"""Every change there is; the first two are ``flip`` of :class:`Augment`."""
GEOMETRY = frozenset({"mirror", "upside_down", "turn", "tilt", "zoom"})
COLOUR = frozenset({"saturation", "hue"})

_ALIKE = frozenset(KINDS) - GEOMETRY
_FREE = frozenset(KINDS)
MODALITIES = {
    "dermoscopy": _FREE,
    "endoscopy": _FREE,
    "fundus photography": _FREE - {"turn"},
    "ultrasound": (_ALIKE - COLOUR) | {"mirror", "tilt", "zoom"},
    "X-ray": (_ALIKE - COLOUR) | {"mirror", "tilt", "zoom"},
}
"""Changes by modality. A skin lesion and a turned endoscope know no above and below; a mirrored fundus is one of the
other eye. Under an ultrasound probe shadows fall downwards, and chests are shown upright: of the flips only left and
right are exchanged. Grey modalities keep their greys. Modalities that are not listed are treated as X-rays."""

_Pixel = TypeVar("_Pixel", bound=np.generic)


@dataclass(frozen=True)
class Draw:
    """What is done to a sample, in this order; the defaults change nothing.

    Attributes:
        mirror: left and right exchanged.
        upside_down: above and below exchanged.
        quarters: quarter turns, counter-clockwise.
        angle: degrees, clockwise.
        scale: factor about the centre.
        shift: (x, y), fractions of width and height, right and down.
        blur: standard deviation as a fraction of the longer side.
        brightness, contrast, gamma, saturation: factors (gamma: exponent).
        hue: part of the circle, -0.5 to 0.5.
        noise: standard deviation as a fraction of the range.
        noise_seed: of the noise.
        jpeg: quality, 100 = not compressed.
    """

    mirror: bool = False
    upside_down: bool = False
    quarters: int = 0
    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    blur: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    gamma: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    jpeg: int = 100

    @property
    def warps(self) -> bool:
        """Whether pixels come to lie between pixels."""
        return (self.angle, self.scale, self.shift) != (0.0, 1.0, (0.0, 0.0))

    @property
    def nothing(self) -> bool:
        """Whether the sample stays as it is."""
        return replace(self, noise_seed=0) == Draw()

    def rearranged(self, array: NDArray[_Pixel]) -> NDArray[_Pixel]:
        """Flips and quarter turns of (H, W, ...): pixels exchange places, and so do the cells of a grid."""
        if self.mirror:
            array = array[:, ::-1]
        if self.upside_down:
            array = array[::-1]
        return np.rot90(array, self.quarters) if self.quarters else array

    def unwarped(self) -> Draw:
        """The same without tilt and zoom."""
        return replace(self, angle=0.0, scale=1.0, shift=(0.0, 0.0))


def draw(rng: np.random.Generator, params: Augment, allowed: Collection[str]) -> Draw:
    """Draw what is done to a sample.

    Every number is drawn whatever the others are and whatever is allowed, so that the stream has one length.

    Args:
        rng: of this sample and this place in the run.
        params: the section ``train.augment``.
        allowed: some of :data:`KINDS`.
    """
    chances = {**params.model_dump(), "mirror": params.flip, "upside_down": params.flip}
    made = {kind: bool(rng.random() < chances[kind]) and kind in allowed for kind in KINDS}
    amount = {kind: params.strength * float(rng.uniform(-1, 1)) * made[kind] for kind in KINDS}
    quarters, noise_seed = int(rng.integers(1, 4)), int(rng.integers(2**31))
    drawn = replace(
        Draw(),
        mirror=made["mirror"],
        upside_down=made["upside_down"],
        quarters=quarters * made["turn"],
        blur=0.005 * abs(amount["blur"]),
        brightness=1 + 0.3 * amount["brightness"],
        contrast=1 + 0.3 * amount["contrast"],
        gamma=float(1.5 ** amount["gamma"]),
        saturation=1 + 0.4 * amount["saturation"],
        hue=0.02 * amount["hue"],
        noise=0.05 * abs(amount["noise"]),
        noise_seed=noise_seed,
        jpeg=round(100 - 60 * abs(amount["jpeg"])),
    )
    return warped(rng, params, drawn, tilt=made["tilt"], zoom=made["zoom"])


def warped(rng: np.random.Generator, params: Augment, drawn: Draw, *, tilt: bool, zoom: bool) -> Draw:
    """``drawn`` with another tilt and zoom."""
    angle, size, right, down = (params.strength * float(value) for value in rng.uniform(-1, 1, 4))
    scale = 1.5**size if size > 0 else 0.7**-size
    return replace(
        drawn,
        angle=20 * angle * tilt,
        scale=float(scale) if zoom else 1.0,
        shift=(0.15 * right, 0.15 * down) if zoom else (0.0, 0.0),
    )
