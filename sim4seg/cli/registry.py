"""Commands about the registered versions and which of them is the champion."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sim4seg.cli.options import AsJson, Who, Why


def promote(
    version: Annotated[int | None, typer.Option(help="Version to promote. Default: the candidate.")] = None,
    decline: Annotated[bool, typer.Option("--decline", help="Log that it shall not become champion.")] = False,
    why: Why = "",
    who: Who = "",
    data: Annotated[
        Path, typer.Option(help="Project folder with the candidate's shards, if the champion must be scored again.")
    ] = Path(),
) -> None:
    """Make a registered version the champion if it passes every rule; a refusal says which rule and by how much.

    Examples:

        sim4seg promote

        sim4seg promote --version 3 --why "agreed on Monday" --who "A. Reader"

        sim4seg promote --version 4 --decline --why "the reasoning texts read badly"
    """
    from sim4seg import registry
    from sim4seg.config.params import load_params

    params, name = load_params().register_, who or None
    if decline:
        decision = registry.decline(params, version=version, who=name, why=why)
    else:
        decision = registry.promote(params, version=version, who=name, why=why, data=data)
    print(decision.message)


def rollback(
    version: Annotated[int, typer.Argument(help="A former champion.", show_default=False)],
    why: Why = "",
    who: Who = "",
) -> None:
    """Make a former champion the champion again.

    Examples:

        sim4seg rollback 2 --why "worse on the new scanner"
    """
    from sim4seg import registry
    from sim4seg.config.params import load_params

    print(registry.rollback(load_params().register_, version, why=why, who=who or None).message)


def history(as_json: AsJson = False) -> None:
    """Who was champion when, and why, from the promotion log.

    Its hash chain is checked first, and that it ends where the registry says.

    Examples:

        sim4seg history

        sim4seg history --json
    """
    from sim4seg import registry
    from sim4seg.config.params import load_params

    entries = registry.history(params=load_params().register_)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        replaced = f" (was version {entry.replaced})" if entry.replaced else ""
        print(
            f"{entry.when}  {entry.action}  {entry.name} version {entry.version}{replaced}  by {entry.who}: {entry.why}"
        )
    if not entries:
        print("no promotion yet")
