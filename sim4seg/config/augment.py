"""Part ``augment`` of section ``train``: by how much and how often training images are changed."""

from __future__ import annotations

from sim4seg.config.section import Fraction, Section

AUGMENT_OR_EMBED = "set train.augment.strength to 0, or embed.enabled to false"
"""What to do where images are to be changed that were embedded as they are."""


class Augment(Section):
    """Changes of training images, drawn anew each time a sample is seen (docs/training-data.md).

    One strength for all, and for each change how often it is made. What a sample's modality or its words do not allow
    is left out, whatever is said here.
    """

    strength: Fraction
    """0 = off, nothing is computed; 1 = changes up to the whole of their range. Real images: 0.5."""
    flip: Fraction
    """Left and right exchanged; and, apart from that, above and below."""
    turn: Fraction
    """By one, two or three quarters."""
    tilt: Fraction
    """By up to 20 degrees to either side."""
    zoom: Fraction
    """Scaled by 0.7 to 1.5 and shifted by up to 15 % of each side: above 1 the picture is cropped."""
    brightness: Fraction
    """By up to 30 % up or down."""
    contrast: Fraction
    """By up to 30 % up or down."""
    gamma: Fraction
    """From 0.67 to 1.5."""
    saturation: Fraction
    """By up to 40 % up or down; colour images only, as the next."""
    hue: Fraction
    """By up to 2 % of the circle."""
    noise: Fraction
    """Normal, of up to 5 % of the range."""
    blur: Fraction
    """Gaussian, of up to 0.5 % of the longer side."""
    jpeg: Fraction
    """Compressed, down to quality 40."""

    @property
    def enabled(self) -> bool:
        """Whether images are changed at all."""
        return self.strength > 0
