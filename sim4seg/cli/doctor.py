"""The command that checks the machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console

from sim4seg.cli.options import AsJson

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(as_json: AsJson = False) -> None:
    """Check this machine and this project, and say what to do. Ends with 1 if something must be mended.

    Examples:

        sim4seg doctor

        sim4seg doctor --json
    """
    from sim4seg.doctor import examine

    console = Console(highlight=False, quiet=as_json, soft_wrap=True)
    checks = []
    for check in examine(Path.cwd()):
        checks.append(check)
        console.print(f"{check.state:5}", style=COLOURS[check.state], end="")
        console.print(f"{check.name:12} {check.message}", markup=False)
        if check.remedy:
            console.print(f"{'':18}-> {check.remedy}", markup=False)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], ensure_ascii=False, indent=2))
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)
