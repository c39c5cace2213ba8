"""Nothing is left on the CPU: training's forward pass and answering on a pretended GPU, every family."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from sim4seg.config.train import Region
from sim4seg.inference.tts import answer_batch
from sim4seg.model.presets import build
from sim4seg.training.global_batch import WholeStep
from sim4seg.training.processes import Processes
from tests.gpu.pretend import FAR, Far, PretendGpu, moved, to_gpu
from tests.settings import plain_loss, settings

pytestmark = pytest.mark.slow

OURS = plain_loss(region=0.5, iou=0.1, align=1.0, attend=0.5, conclusion=5.0)
PAPERS = plain_loss()
SIZES = ((64, 43), (50, 64))


def pictures():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in SIZES]


def batch_of(processor):
    visual = processor.image_inputs(pictures())
    answers = ["Here [SEG]. It is: benign", "There [SEG]. It is: malignant"]
    text = processor.text_inputs(["where?"] * 2, answers, grid=visual["vision_grid"])
    masks = [np.arange(h * w).reshape(h, w) % 3 == 0 for h, w in SIZES]
    return {**visual, **text, "mask_labels": processor.mask_labels(masks)}


CASES = [("tiny", OURS), ("paper-small", PAPERS), ("llava-1.5-small", PAPERS), ("qwen2.5-vl-small", PAPERS)]


@pytest.mark.parametrize(("preset", "loss"), CASES, ids=[name for name, _ in CASES])
def test_the_loss(tokenizer, preset, loss):
    model, processor = build(preset, tokenizer, settings(Region), loss, seed=0)
    model.language_model.set_attn_implementation("eager")
    model.lvlm.set_attn_implementation("eager")
    batch = batch_of(processor)
    with torch.no_grad():
        here = model.train()(**batch)
        with PretendGpu():
            there = to_gpu(model)(**moved(batch))
    assert there.parts.keys() == here.parts.keys()
    for name, part in there.parts.items():
        assert isinstance(part, Far), name
        torch.testing.assert_close(part.inner, here.parts[name])


def test_what_a_step_of_several_passes_adds(tokenizer):
    """Its words and texts are gathered before the batch is moved."""
    model, processor = build("tiny", tokenizer, settings(Region), OURS, seed=0)
    batch = {**batch_of(processor), "conclusion": torch.zeros(2, 1)}
    batch["conclusion"] = (batch["labels"] != -100).float()
    step = WholeStep(model, [batch], Processes(0, 1, torch.device("cpu")), 0.5, processor.tokenizer.pad_token_id)
    with torch.no_grad(), PretendGpu():
        far = moved(batch)
        output = to_gpu(model)(**{**far, **step.inputs(far)})
    assert isinstance(output.parts["align"], Far)


@pytest.mark.parametrize("preset", [name for name, _ in CASES])
def test_answers(tokenizer, preset):
    model, processor = build(preset, tokenizer, settings(Region), PAPERS, seed=0)
    model.lvlm.set_attn_implementation("eager")

    def answers():
        return answer_batch.__wrapped__(  # what is made in inference mode does not say so when it is moved
            model.eval(), processor, pictures(), ["where?"] * 2,
            paths=2, perturbations=2, temperature=0.7, max_new_tokens=5, seeds=[1, 2],
        )  # fmt: skip

    with torch.no_grad():
        here = answers()
        to_gpu(model)
        with PretendGpu():
            there = answers()
    for one, other in zip(chain(*here), chain(*there), strict=True):
        assert one.text == other.text and np.array_equal(one.mask, other.mask)


def test_it_does_refuse():
    with PretendGpu(), pytest.raises(RuntimeError, match="on the GPU and on the CPU"):
        _ = torch.ones(3, device=FAR) + torch.ones(3)
