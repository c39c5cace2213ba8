"""The command that says what a training would cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from sim4seg.cli.options import AsJson


def plan(
    preset: Annotated[str, typer.Option(help="Preset to plan for.")] = "paper",
    gpus: Annotated[int, typer.Option(min=1, max=4096, help="GPUs.")] = 8,
    gpu_memory: Annotated[float, typer.Option(help="GB of one GPU.")] = 80,
    gpus_per_node: Annotated[int, typer.Option(min=1, help="GPUs of one computer, at most.")] = 8,
    sharding: Annotated[
        Literal["none", "fsdp", "zero1", "zero2", "zero3"],
        typer.Option(help="none: one GPU, or data parallel; fsdp: FSDP2; zero*: DeepSpeed."),
    ] = "zero2",
    dtype: Annotated[
        Literal["bfloat16", "float32"],
        typer.Option(help="train.weights.dtype, of frozen weights; DeepSpeed makes all of them bfloat16."),
    ] = "bfloat16",
    checkpointing: Annotated[bool, typer.Option(help="train.gradient_checkpointing.")] = True,
    batch: Annotated[int, typer.Option(min=1, help="Samples an optimizer step, over all GPUs.")] = 160,
    steps_per_epoch: Annotated[int, typer.Option(min=1, help="Optimizer steps of an epoch.")] = 1000,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Training samples, each once an epoch; in place of --steps-per-epoch.")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Epochs.")] = 4,
    evaluation_batch: Annotated[int, typer.Option(min=1, help="Images that are evaluated at once.")] = 4,
    images: Annotated[int, typer.Option(min=1, help="Images whose SAM embeddings would be stored.")] = 16_148,
    tflops: Annotated[float, typer.Option(help="bfloat16 peak of one GPU (A100: 312).")] = 312,
    mfu: Annotated[float, typer.Option(help="Share of the peak that is reached.")] = 0.35,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 256,
    table: Annotated[
        bool, typer.Option("--table", help="All presets with published weights, as Markdown; takes minutes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What training would cost: parameters, operations, memory by part, batch, steps, hours, disk. No weights needed.

    Counted by running the real step on tensors without memory; takes some seconds. Without options: the paper's run on
    eight GPUs of 80 GB, as infra/train/params/8gpu.yaml and infra/train/zero2.yaml have it.

    Examples:

        sim4seg plan --preset paper --gpus 8 --gpu-memory 80

        sim4seg plan --preset paper --gpus 1 --gpu-memory 40 --sharding none

        sim4seg plan --preset qwen2.5-vl --gpus 2 --gpu-memory 24 --sharding fsdp --samples 12000

        sim4seg plan --table
    """
    from sim4seg.plan.budget import Machine, Run
    from sim4seg.plan.preset_plan import plan_presets, published_presets
    from sim4seg.plan.report import describe
    from sim4seg.plan.report import table as as_table

    machine = Machine(gpus, gpu_memory, tflops, mfu, sharding, node=gpus_per_node)
    run = Run(steps_per_epoch, epochs, batch, samples, checkpointing, dtype, evaluated=evaluation_batch, images=images)
    budgets = plan_presets(published_presets() if table else [preset], machine, run, answer_tokens)
    if as_json:
        print(json.dumps([asdict(budget) for budget in budgets], indent=2))
    else:
        print(as_table(budgets) if table else describe(budgets[0]))
