"""One small file for each dataset; the modules of this folder register themselves when it is imported."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from sim4seg.data.adapters.base import Adapter, ReadLog, WritableAdapter, registered

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

ADAPTERS: dict[str, Adapter] = registered()
"""All adapters by key, in the order of their keys."""


def find_adapters(raw_root: Path) -> list[Adapter]:
    """The adapters whose dataset lies below ``raw_root``, in the order of their keys."""
    return [adapter for adapter in ADAPTERS.values() if adapter.found(raw_root)]


__all__ = ["ADAPTERS", "Adapter", "ReadLog", "WritableAdapter", "find_adapters"]
