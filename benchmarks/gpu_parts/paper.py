"""The preset `paper` at full size with random weights: what a step takes, against what `sim4seg plan` says.

Weights are drawn on the device. A pass is forward and backward of some samples, as infra/train/params/1gpu.yaml has it;
the optimizer's step, once in 80 passes there, is timed apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from sim4seg.offline import silence

silence()

from benchmarks.gpu_parts.big_model import QUESTION, build_there, lengths_of, random_batch  # noqa: E402
from benchmarks.gpu_parts.device_clock import seconds_of, times  # noqa: E402
from benchmarks.gpu_parts.notes import Notes, part_arguments  # noqa: E402
from benchmarks.gpu_parts.training_step import Step, by_part, timed_passes, top_operations  # noqa: E402
from sim4seg.config.overlay import laid_over  # noqa: E402
from sim4seg.config.train import Train  # noqa: E402
from sim4seg.device import best_device  # noqa: E402
from sim4seg.inference.tts import answer_batch  # noqa: E402
from sim4seg.training.lora import fold_adapters_in  # noqa: E402

SETTINGS = Path("infra/train/params/1gpu.yaml")
PASSES = ((1, True), (2, True), (8, True), (2, False), (8, False), (32, True))
"""Samples of a pass, and whether activations are checkpointed."""
TEMPERATURE = 0.7
PLAN = "from sim4seg.cli import app; app()"


def start_plan(preset: str) -> subprocess.Popen[str]:
    """`sim4seg plan` for one GPU, at work beside what is measured."""
    options = ["plan", "--preset", preset, "--gpus", "1", "--gpu-memory", "80", "--sharding", "none", "--json"]
    return subprocess.Popen([sys.executable, "-c", PLAN, *options], stdout=subprocess.PIPE, text=True)


def planned(child: subprocess.Popen[str]) -> dict[str, Any]:
    """What of the plan is compared: operations of a sample, bytes held, bytes of activations by samples."""
    output, _ = child.communicate()  # the part's own limit ends it
    budget = json.loads(output)[0]
    cost, bytes_held = budget["cost"], budget["held"]

    def activations(mode: dict[str, Any], samples: int) -> int:
        if samples == 1:
            return int(mode["one"])
        return max(int(mode[line]["fixed"]) + int(mode[line]["each"]) * samples for line in ("few", "many"))

    once = cost["forward"] + cost["backward"]
    return {
        "parameters": cost["parameters"],
        "trained": cost["trainable"],
        "operations": {"kept": once, "checkpointed": once + cost["recomputed"]},
        "sam_encoder": cost["sam_encoder"],
        "held": sum(bytes_held.values()),
        "largest": {"kept": budget["largest_kept"], "checkpointed": budget["largest_checkpointed"]},
        "peak": {
            f"{samples} {name(again)}": sum(bytes_held.values()) + activations(cost[name(again)], samples)
            for samples, again in PASSES
        },
    }


def name(checkpointing: bool) -> str:
    """How a way of keeping activations is called in the figures."""
    return "checkpointed" if checkpointing else "kept"


def matrix_peak(device: torch.device, side: int) -> float:
    """Operations a second of a square bfloat16 matrix product of random numbers."""
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2.0 * side**3 / times(device, lambda: one @ other, 20, 3)["median"]


def steps(notes: Notes, model: Any, params: Train, toy: bool) -> None:
    """Passes of several sizes, the optimizer's step, shares of the time."""
    step, lengths = Step(model.train(), params), lengths_of(params.preset)
    for samples, checkpointing in PASSES[:2] if toy else PASSES:
        step.checkpointing(checkpointing)
        repeats = 1 if toy else 10 if samples <= 8 else 4

        def work(samples: int = samples, repeats: int = repeats) -> dict[str, Any]:
            return timed_passes(step, random_batch(model, lengths, samples), repeats, 0 if toy else 2)

        notes.measure(f"pass {samples} {name(checkpointing)}", work)
    notes.measure("optimizer", lambda: times(step.device, step.update, 1 if toy else 10, 0 if toy else 2))
    step.checkpointing(True)
    batch = random_batch(model, lengths, 2)
    notes.measure("parts of a pass of 2", lambda: by_part(step, batch, 1 if toy else 5))
    notes.measure("operations of a pass of 2", lambda: top_operations(step, batch))
    step.checkpointing(False)
    step.optimizer.zero_grad()


def never_ends(model: Any, end: int) -> None:
    """Give the output layer a bias against the end token, so that every answer has the full length."""
    plain = model.lvlm.lm_head
    head = nn.Linear(plain.in_features, plain.out_features, device=plain.weight.device, dtype=plain.weight.dtype)
    head.weight = plain.weight
    nn.init.zeros_(head.bias)
    head.bias.data[end] = -1e4
    model.lvlm.lm_head = head


def scaling(model: Any, processor: Any, count: int, tokens: int, repeats: int) -> dict[str, Any]:
    """Seconds of one greedy answer and of 2 x 2 candidates, for ``count`` images at once."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (320, 320, 3), dtype=np.uint8) for _ in range(count)]

    def answer(paths: int) -> Callable[[], Any]:
        return lambda: answer_batch(
            model, processor, images, [QUESTION] * count,
            paths=paths, perturbations=paths, temperature=TEMPERATURE,
            max_new_tokens=tokens, seeds=list(range(count)),
        )  # fmt: skip

    answer(2)()
    pairs = [(seconds_of(model.device, answer(1)), seconds_of(model.device, answer(2))) for _ in range(repeats)]
    greedy, scaled = (sorted(column)[repeats // 2] for column in zip(*pairs, strict=True))
    return {"greedy": greedy, "2x2": scaled, "ratio": scaled / greedy, "tokens": tokens, "repeats": repeats}


def embedding(model: Any, processor: Any, count: int, repeats: int, bf16: bool) -> dict[str, float]:
    """Images a second of SAM's encoder, alone and with reading pixels before and bringing embeddings back."""
    rng = np.random.default_rng(0)
    side = model.segmenter.image_size
    images = [rng.integers(0, 256, (side, side * 3 // 4, 3), dtype=np.uint8) for _ in range(count)]

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            embedded: torch.Tensor = model.segmenter.encode(pixels)
        return embedded

    def whole() -> None:
        encode(processor.image_inputs(images)["sam_pixel_values"].to(model.device)).to(torch.bfloat16).cpu()

    pixels = processor.image_inputs(images)["sam_pixel_values"].to(model.device)
    alone = times(model.device, lambda: encode(pixels), repeats, 1)["median"]
    return {"encoder": count / alone, "with pixels": count / times(model.device, whole, repeats, 1)["median"]}


def answers(notes: Notes, model: Any, processor: Any, toy: bool) -> None:
    """Test-time scaling and embeddings of the model as it is evaluated: float32, adapters folded in; then bfloat16."""
    fold_adapters_in(model)
    model.eval()
    never_ends(model, processor.tokenizer.eos_token_id)
    count, tokens, repeats = (2, 4, 1) if toy else (8, 128, 3)
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        kind = str(dtype).removeprefix("torch.")
        if dtype == torch.float32:
            for bf16 in (False, True):
                work = partial(embedding, model, processor, count, repeats, bf16)
                notes.measure(f"embed {'bfloat16' if bf16 else 'float32'}", work)
        for images in (1, count):
            notes.measure(f"answers {kind} {images}", partial(scaling, model, processor, images, tokens, repeats))


def train_settings() -> Train:
    """The ``train`` section that :data:`SETTINGS`, laid over params.yaml, makes."""
    values, changes = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (Path("params.yaml"), SETTINGS))
    return Train.model_validate(laid_over(values["train"], changes["train"]))


def main() -> None:
    """See the module's text."""
    arguments = part_arguments(__doc__).parse_args()
    notes, device = Notes(arguments.out), best_device()
    params = train_settings()
    if arguments.toy:
        params = params.model_copy(update={"preset": "paper-small"})
    plan = start_plan(params.preset)
    notes.measure("matrix product, operations a second", lambda: matrix_peak(device, 256 if arguments.toy else 8192))
    built: list[Any] = []
    notes.add("build, seconds", seconds_of(device, lambda: built.append(build_there(params, device))))
    model, processor = built[0]
    notes.add("devices of the weights", sorted({str(weight.device) for weight in model.parameters()}))
    steps(notes, model, params, arguments.toy)
    answers(notes, model, processor, arguments.toy)
    notes.measure("plan", lambda: planned(plan))


if __name__ == "__main__":
    main()
