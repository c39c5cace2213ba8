"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]
Why = Annotated[str, typer.Option(help="Reason, for the log.")]
Who = Annotated[str, typer.Option(help="Name for the log. Default: the user's.")]
NewFolder = Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)]
Processor = Annotated[Path | None, typer.Option(help="Folder with processor.json. Default: MODEL.")]
