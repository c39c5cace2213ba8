"""Installed versions of the libraries that compute: another one may give other numbers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    "accelerate",
    "deepspeed",
    "flash-attn",
    "monai",
    "numpy",
    "pandas",
    "peft",
    "pillow",
    "pyarrow",
    "safetensors",
    "scikit-image",
    "scipy",
    "segment-anything",
    "timm",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
)
"""By the names of their distributions. A test holds it against what the sources import; deepspeed and flash-attn are
imported by accelerate and transformers."""


@cache
def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def library_versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Name to version; "not installed" for one that is not there."""
    return {name: _installed(name) for name in names}
