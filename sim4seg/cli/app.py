"""The program: its commands by subject, and how an error ends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from sim4seg.cli.data import phantoms, snapshot
from sim4seg.cli.doctor import doctor
from sim4seg.cli.lineage import reproduce
from sim4seg.cli.plan import plan
from sim4seg.cli.predict import predict
from sim4seg.cli.registry import history, promote, rollback
from sim4seg.cli.weights import convert_lisa, make_mobile, make_smol, merge_lora, push, save_adapters
from sim4seg.errors import Sim4SegError
from sim4seg.loopback import spare_loopback
from sim4seg.offline import silence

silence()
spare_loopback()
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' bar of reading weights, which takes a moment

SUBJECTS: dict[str, tuple[Callable[..., None], ...]] = {
    "Answers": (predict,),
    "Data": (snapshot, phantoms),
    "Registry": (promote, rollback, history),
    "Lineage": (reproduce,),
    "Training": (plan,),
    "Weights": (convert_lisa, make_smol, make_mobile, merge_lora, save_adapters, push),
    "This machine": (doctor,),
}
"""Headings of ``sim4seg --help``, and the commands below each; ``convert_lisa`` is typed ``convert-lisa``."""


class Group(TyperGroup):
    """Commands whose :class:`Sim4SegError` becomes a message on standard error and its exit code, without a trace."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except Sim4SegError as error:
            Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"error: {error}")
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="Sim4Seg: from a medical image and a question to a mask, a reasoning and a diagnosis.",
)
for subject, commands in SUBJECTS.items():
    for command in commands:
        app.command(rich_help_panel=subject)(command)
