"""Which stored values of a DICOM image are black and which are white: its VOI LUT, its window, or its own range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import apply_voi

from sim4seg.errors import BadSample


def windowed(values: NDArray[np.float64], seen: NDArray[np.bool_], header: Any, path: Path) -> NDArray[np.uint8]:
    """Values after the modality LUT as grey, 0 black to 255 white (PS3.3 C.11.2).

    A window is taken as given: what lies within it keeps its place, also where no value reaches the window's ends.

    Args:
        values: (H, W).
        seen: (H, W), False where a pixel is padding; only the full range looks at it.
        header: of the image.
        path: of the file, for messages.

    Returns:
        (H, W) uint8.

    Raises:
        BadSample: a window without a width, or of a function that is not known.
    """
    if header.get("VOILUTSequence"):
        table = header.VOILUTSequence[0].LUTDescriptor
        shown = apply_voi(values.astype(np.int64), header, index=0).astype(np.float64) / (2 ** int(table[2]) - 1)
    elif not _is_empty(header, "WindowWidth") and not _is_empty(header, "WindowCenter"):
        shown = _in_window(values, _first(header.WindowCenter), _first(header.WindowWidth), header, path)
    else:
        low, high = float(values[seen].min()), float(values[seen].max())
        shown = (values - low) / (high - low) if high > low else np.zeros_like(values)
    grey: NDArray[np.uint8] = np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)
    return grey


def _in_window(
    values: NDArray[np.float64], centre: float, width: float, header: Any, path: Path
) -> NDArray[np.float64]:
    """The place of each value within the window: 0 at its lower end, 1 at its upper."""
    function = str(header.get("VOILUTFunction", "LINEAR") or "LINEAR")
    least = 1.0 if function == "LINEAR" else 0.0
    if not np.isfinite([centre, width]).all() or width < least or (width == 0):
        raise BadSample(
            f"a window of width {width:g}; its function {function} needs " + ("1 or more" if least else "more than 0"),
            where=path.name,
            remedy="export it with a window that was used, or with none",
        )
    if function == "LINEAR":
        # The standard's linear window ends half a step within its width; of width 1 it is a threshold.
        if width == 1:
            return (values > centre - 0.5).astype(np.float64)
        return (values - (centre - 0.5)) / (width - 1) + 0.5
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))))
    raise BadSample(
        f"a window of the function {function!r}, which is none of the standard's",
        where=path.name,
        remedy="export it with LINEAR, LINEAR_EXACT or SIGMOID",
    )


def _is_empty(header: Any, name: str) -> bool:
    return name not in header or header[name].is_empty


def _first(value: Any) -> float:
    """Of several windows, each a proposal, the first."""
    return float(value[0] if isinstance(value, list | tuple) or hasattr(value, "append") else value)
