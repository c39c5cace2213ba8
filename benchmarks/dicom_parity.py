"""Our grey levels and colours of the DICOM files that come with pydicom against dcmtk's: the table of docs/dicom.md.

    python benchmarks/dicom_parity.py             # needs Debian's package dcmtk

dcmtk shows what we show: the first VOI LUT or window, else the full range; no overlay. Prints a Markdown table: file,
transfer syntax, largest difference in grey levels; then what is refused, and why.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image

from sim4seg.data.images import decode_image
from sim4seg.errors import BadSample

SHIPPED = Path(pydicom.__file__).parent / "data/test_files"
TOOLS = ("dcmj2pnm", "dcml2pnm")
"""dcmtk's, with JPEG and with JPEG-LS; neither has JPEG 2000."""


def second(path: Path, header: Any, grey: bool, out: Path) -> NDArray[np.uint8] | None:
    """Dcmtk's pixels, (H, W) or (H, W, 3) uint8; None where it cannot read them."""
    if not grey:
        choice = []
    elif header.get("VOILUTSequence"):
        choice = ["+Wl", "1"]
    elif "WindowWidth" in header and not header["WindowWidth"].is_empty:
        choice = ["+Wi", "1"]
    else:
        choice = ["+Wm"]
    for tool in TOOLS:
        out.unlink(missing_ok=True)
        subprocess.run([tool, "-O", *choice, str(path), str(out)], capture_output=True, check=False)
        if out.exists():
            return np.asarray(Image.open(out))
    return None


def main() -> None:
    """See the module's text."""
    if not all(map(shutil.which, TOOLS)):
        sys.exit("this needs dcmtk: apt-get install dcmtk")
    warnings.simplefilter("ignore")
    refused = []
    print("| file | transfer syntax | largest difference, grey levels |\n|---|---|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(SHIPPED.rglob("*.dcm")):
            try:
                ours = decode_image(path, max_pixels=10**8, max_side=10**6)
            except BadSample as error:
                refused.append((path.name, error.what))
                continue
            header = pydicom.dcmread(path, force=True)
            syntax = header.file_meta.TransferSyntaxUID.name if "TransferSyntaxUID" in header.file_meta else "not said"
            theirs = second(path, header, ours.ndim == 2, Path(folder) / "dcmtk.pnm")
            if theirs is None:
                found = "dcmtk does not read it"
            elif theirs.shape != ours.shape:
                found = f"{theirs.shape} there, {ours.shape} here"
            else:
                found = str(int(np.abs(ours.astype(int) - theirs.astype(int)).max()))
            print(f"| {path.name} | {syntax} | {found} |")
    print("\n| file | refused |\n|---|---|")
    for name, what in refused:
        print(f"| {name} | {' '.join(what.split())[:110]} |")


if __name__ == "__main__":
    main()
