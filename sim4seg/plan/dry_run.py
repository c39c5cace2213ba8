"""One training step of a model on the ``meta`` device: the real code runs, and what it would cost is counted.

Ids and grids are real and lie on the CPU, where the code looks into them; all else has shapes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_backward_flop_count, sdpa_flop_count
from transformers import AttentionInterface

from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.plan.memory_counter import LiveBytes
from sim4seg.plan.mixed_precision import Autocast

Casts = Callable[[], AbstractContextManager[Any]]
ATTENTION = "sim4seg_counted"
"""Fused attention under a name of ours: on ``meta``, PyTorch would choose the one that stores every score."""


@dataclass(frozen=True)
class Lengths:
    """Sizes of one sample.

    Attributes:
        grid: rows and columns of image tokens.
        question: tokens of the prompt that are not the image's.
        answer: tokens of the answer.
    """

    grid: tuple[int, int]
    question: int
    answer: int

    @property
    def total(self) -> int:
        """Tokens of prompt and answer."""
        return self.grid[0] * self.grid[1] + self.question + self.answer


@dataclass(frozen=True)
class Step:
    """What one step of one batch costs.

    Attributes:
        forward, backward: floating point operations; a multiplication with an addition counts two.
        activations: bytes, most at once beyond weights and gradients.
        shapes: of the outputs, by name.
        modules: operations of the forward pass by the module's name.
    """

    forward: int
    backward: int
    activations: int
    shapes: dict[str, tuple[int, ...]]
    modules: dict[str, int]

    @property
    def flops(self) -> int:
        """Of the whole step."""
        return self.forward + self.backward


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    # Rotary tables may have made these float32; autocast hands all three to the kernel as the projections gave them.
    query, key = query.to(value.dtype), key.to(value.dtype)
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", False) if causal is None else causal
    output = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, bool(causal and query.shape[2] > 1), scale=kwargs.get("scaling")
    )[0]
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attend)

FUSED: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}
"""Operations of the fused kernel, which PyTorch's counter does not know on a CPU."""


class Operations(TorchDispatchMode):
    """Floating point operations by PyTorch's own formulas.

    ``FlopCounterMode`` has them by module, but where layers are computed again on the way back its hooks keep alive
    what should be gone: the peak would be counted nearly twice.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in FUSED:
            shapes = [a.shape if isinstance(a, Tensor) else a for a in args]
            self.total += FUSED[packet](*shapes)
        elif packet in flop_registry:
            formula: Any = flop_registry[packet]
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output


def make_batch(
    model: Sim4SegForConditionalGeneration,
    lengths: Lengths,
    size: int,
    device: str = "meta",
    *,
    stored: bool = False,
) -> dict[str, Tensor]:
    """A batch of ``size`` samples of these lengths, of no meaning.

    Args:
        model: decides the ids and the shapes.
        lengths: of each sample.
        size: B.
        device: of everything that the model computes with.
        stored: give SAM's embeddings in place of its pixels.
    """
    config, dtype = model.config, next(model.parameters()).dtype
    rows, columns = lengths.grid
    image = model.family.image_token_id(config.lvlm_config)
    word = next(i for i in range(config.lvlm_config.text_config.vocab_size) if i not in (image, config.seg_token_id))
    ids = [word] * lengths.question + [image] * rows * columns
    ids += [config.seg_token_id] + [word] * (lengths.answer - 1)
    input_ids = torch.tensor([ids] * size)
    labels = input_ids.clone()
    labels[:, : -lengths.answer] = -100
    side = config.sam["image_size"]
    seen = {"sam_embeddings": model.segmenter.encoding_shape} if stored else {"sam_pixel_values": (3, side, side)}
    floats = {
        **seen,
        "pixel_values": model.family.pixels_shape(config.lvlm_config, lengths.grid),
        "vision_affine": (4,),
        "sam_extent": (2,),
        "conclusion": (lengths.total,),
        "mask_labels": (side, side),
    }
    batch = {name: torch.ones(size, *shape, device=device, dtype=dtype) for name, shape in floats.items()}
    grid = torch.tensor([[rows, columns]] * size)
    mask = torch.ones_like(input_ids)
    return {**batch, "input_ids": input_ids, "labels": labels, "vision_grid": grid, "attention_mask": mask}


@contextmanager
def positions_follow(model: Sim4SegForConditionalGeneration) -> Iterator[None]:
    """Rotary tables are made from positions on the CPU, and go where the states are."""

    def moved(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        device = args[0].device
        args = tuple(a.to(device) if isinstance(a, Tensor) else a for a in args)
        return args, {name: v.to(device) if isinstance(v, Tensor) else v for name, v in kwargs.items()}

    rotary = [m for m in model.lvlm.modules() if "Rotary" in type(m).__name__]
    hooks = [module.register_forward_pre_hook(moved, with_kwargs=True) for module in rotary]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def run_forward(model: Sim4SegForConditionalGeneration, batch: dict[str, Tensor]) -> Any:
    """One forward pass; on ``meta``, outputs have shapes only."""
    if model.device.type == "meta":
        model.lvlm.set_attn_implementation(ATTENTION)
    with positions_follow(model):
        return model(**batch)


def run_step(
    model: Sim4SegForConditionalGeneration, batch: dict[str, Tensor], *, checkpointing: bool, autocast: bool = False
) -> Step:
    """One forward and one backward pass, counted.

    Args:
        model: with the trainable set already chosen; on ``meta`` or on a real device.
        batch: of :func:`make_batch`.
        checkpointing: keep only what goes into each layer, and compute the rest again on the way back.
        autocast: compute in bfloat16 as autocast does, whatever the weights are held in; on ``meta`` only.
    """
    model.train()
    if model.device.type == "meta":
        model.lvlm.set_attn_implementation(ATTENTION)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    memory = LiveBytes([*model.parameters(), *model.buffers(), *gradients, *batch.values()])
    casts: Casts = Autocast if autocast else nullcontext
    with positions_follow(model), _checkpointed(model, casts) if checkpointing else nullcontext(), memory:
        with FlopCounterMode(display=False, custom_mapping=FUSED) as forward, casts():
            output = model(**batch)
        shapes = {
            name: tuple(getattr(output, name).shape) for name in ("loss", "mask_logits", "regions", "predicted_iou")
        }
        loss = output.loss
        del output
        with Operations() as backward:
            loss.backward()
    root = type(model).__name__ + "."
    modules = {name.removeprefix(root): sum(counts.values()) for name, counts in forward.get_flop_counts().items()}
    return Step(forward.get_total_flops(), backward.total, memory.peak, shapes, modules)


@contextmanager
def _checkpointed(model: Sim4SegForConditionalGeneration, casts: Casts) -> Iterator[None]:
    # What is computed again is cast again. The random state would be looked for on the device; no dropout is asked for.
    how = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": lambda: (nullcontext(), casts())}
    model.activation_checkpointing_enable(how)
    try:
        yield
    finally:
        model.activation_checkpointing_disable()
        model.disable_input_require_grads()  # or a frozen vision tower would be kept from now on
