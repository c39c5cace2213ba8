"""Memory that it takes to evaluate a batch: reading, writing and the masks, one after the other."""

from __future__ import annotations

import torch

from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets import on_meta
from sim4seg.plan.dry_run import ATTENTION, make_batch, positions_follow
from sim4seg.plan.memory_counter import LiveBytes
from sim4seg.plan.step_cost import SAVED, Cost


def evaluation_bytes(cost: Cost, images: int, paths: int, perturbations: int) -> int:
    """Most bytes at once while a trained model, which is float32, answers a batch with test-time scaling.

    Args:
        cost: of the preset.
        images: B.
        paths, perturbations: m and n; an image gets m answers and m * n masks.
    """
    model = on_meta(cost.preset).eval()
    model.lvlm.set_attn_implementation(ATTENTION)
    # When answers end the cache is made anew for the others, one layer after the other.
    layers: int = model.config.lvlm_config.text_config.num_hidden_layers
    cache = cost.cache_a_token * cost.lengths.total * images * paths * (layers + 1) // layers
    with torch.no_grad(), positions_follow(model):
        most = max(_reading(model, cost, images), cache, _masks(model, images, paths * perturbations))
    return SAVED * cost.parameters + most


def _reading(model: Sim4SegForConditionalGeneration, cost: Cost, images: int) -> int:
    """Peak of the pass over the prompts, their keys and values among it."""
    batch = make_batch(model, cost.lengths, images)
    prompt = batch["input_ids"][:, : cost.lengths.total - cost.lengths.answer]
    memory = LiveBytes([*model.parameters(), *model.buffers(), *batch.values(), prompt])
    with memory:
        model.lvlm.model(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            use_cache=True,
            **model.image_kwargs(prompt, batch),
        )
    return memory.peak


def _masks(model: Sim4SegForConditionalGeneration, images: int, each: int) -> int:
    """Peak of SAM: its encoder sees an image once, its decoder once for every mask."""
    segmenter, masks = model.segmenter, images * each
    side, prompt = segmenter.image_size, segmenter.prompt_size
    memory = LiveBytes([*segmenter.parameters(), *segmenter.buffers()])
    with memory:
        embeddings = segmenter.encode(torch.ones(images, 3, side, side, device="meta"))
        segmenter.decode(
            embeddings.repeat_interleave(each, 0),
            torch.ones(masks, embeddings.shape[1], device="meta"),
            torch.ones(masks, 1, prompt, prompt, device="meta"),
        )
    return memory.peak
