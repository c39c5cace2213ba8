"""``sim4seg plan``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer


def plan(
    preset: Annotated[str, typer.Option(help="Preset to plan for.")] = "paper",
    gpus: Annotated[int, typer.Option(min=1, max=4096, help="GPUs.")] = 8,
    gpu_memory: Annotated[float, typer.Option(help="GB of one GPU.")] = 80,
    sharding: Annotated[
        Literal["none", "zero1", "zero2", "zero3"], typer.Option(help="zero3 = FSDP's full sharding.")
    ] = "zero2",
    batch: Annotated[int, typer.Option(min=1, help="Samples an optimizer step, over all GPUs.")] = 160,
    samples: Annotated[int, typer.Option(min=1, help="Training samples.")] = 12_000,
    epochs: Annotated[float, typer.Option(help="Passes over them.")] = 4,
    images: Annotated[int, typer.Option(min=1, help="Images whose SAM embeddings would be stored.")] = 16_148,
    tflops: Annotated[float, typer.Option(help="bfloat16 peak of one GPU (A100: 312).")] = 312,
    mfu: Annotated[float, typer.Option(help="Share of the peak that is reached.")] = 0.35,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 256,
    table: Annotated[bool, typer.Option("--table", help="All presets with published weights, as Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")] = False,
) -> None:
    """What training would cost: parameters, operations, memory by part, batch, steps, hours, disk. No weights needed.

    Counted by running the real step on tensors without memory. Takes some seconds a preset.

    Examples:

        sim4seg plan --preset paper --gpus 8 --gpu-memory 80

        sim4seg plan --preset qwen2.5-vl --gpus 2 --gpu-memory 24 --sharding zero3

        sim4seg plan --table
    """
    from sim4seg.model.presets import PRESETS
    from sim4seg.plan.budget import Machine, Run, make_budget
    from sim4seg.plan.cost import cost_of
    from sim4seg.plan.report import describe
    from sim4seg.plan.report import table as as_table

    machine = Machine(gpus, gpu_memory, tflops, mfu, sharding)
    run = Run(samples, epochs, batch, images=images)
    names = [name for name, each in PRESETS.items() if each.pretrained] if table else [preset]
    budgets = [make_budget(cost_of(name, answer=answer_tokens), machine, run) for name in names]
    if as_json:
        print(json.dumps([asdict(budget) for budget in budgets], indent=2))
    elif table:
        print(as_table(budgets))
    else:
        print(describe(budgets[0]))
