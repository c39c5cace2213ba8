"""The command that answers a question about an image."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.panel import Panel

from sim4seg.cli.options import AsJson
from sim4seg.errors import Sim4SegError

if TYPE_CHECKING:
    from sim4seg.registry.answer_image import AnsweredImage

CHAMPION = "models:/sim4seg@champion"


def predict(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG, BMP, TIFF or DICOM file.", show_default=False)],
    question: Annotated[str, typer.Argument(help="What to find, in words.", show_default=False)],
    model: Annotated[str, typer.Option(help="Registered model, s3://BUCKET/PREFIX/champion, or a folder.")] = CHAMPION,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("predictions"),
    tts: Annotated[
        str | None, typer.Option(help="Test-time scaling: PATHSxPERTURBATIONS. Slower, often better.", metavar="MxN")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question about an image: diagnosis, reasoning, mask. For research, not for care of patients.

    Writes NAME_mask.png, NAME_overlay.png and NAME_similarity.png into the folder given by --out.

    Examples:

        sim4seg predict scan.png "Where is the polyp, and is it benign?"

        sim4seg predict scan.dcm "Is there a fracture?" --model models/sim4seg --tts 2x2 --json
    """
    scaling = parse_tts(tts) if tts is not None else None
    from sim4seg.registry.answer_image import answer_image

    answered = answer_image(model, image, question, scaling, out)
    if as_json:
        print(json.dumps(asdict(answered), ensure_ascii=False, indent=2))
    else:
        _show(answered)


def parse_tts(text: str) -> tuple[int, int]:
    """Read "2x3" as (2 paths, 3 perturbations).

    Raises:
        Sim4SegError: not of that form, or a number outside 1 to 16.
    """
    match = re.fullmatch(r"([0-9]{1,2})x([0-9]{1,2})", text.strip().lower())
    if match and all(1 <= int(number) <= 16 for number in match.groups()):
        return int(match[1]), int(match[2])
    raise Sim4SegError(
        f"cannot read {text!r} as test-time scaling",
        where="--tts",
        remedy="give PATHSxPERTURBATIONS, each 1 to 16, for example --tts 2x2",
    )


def _show(answered: AnsweredImage) -> None:
    console = Console(highlight=False, markup=False)
    console.print(Panel(answered.text, title="answer", title_align="left"))
    console.print(f"diagnosis    {answered.diagnosis or '(the answer has no conclusion)'}")
    console.print(f"confidence   {answered.confidence:.2f}")
    for name in ("mask", "overlay", "similarity"):
        console.print(f"{name:12} {getattr(answered, name)}", soft_wrap=True)
    console.print(f"model        {answered.model_version}, {answered.seconds:.1f} s")
