"""Autocast to bfloat16 for tensors without memory: PyTorch has none for the ``meta`` device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


def _spellings(*names: str) -> frozenset[Callable[..., Any]]:
    """Every function and method of these names."""
    places = (torch, torch.linalg, Tensor, F)
    return frozenset(f for name in names for place in places if (f := getattr(place, name, None)))


LOWER = _spellings(
    *("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "mv", "bmm", "addmm", "addbmm", "baddbmm", "einsum"),
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "prelu"),
    "scaled_dot_product_attention",
)
"""What CUDA's autocast computes in bfloat16."""
FULL = _spellings(
    *("layer_norm", "group_norm", "rms_norm", "norm", "vector_norm", "normalize", "cosine_similarity", "cdist"),
    *("pow", "__pow__", "__rpow__", "__rtruediv__", "exp", "expm1", "log", "log2", "log10", "log1p", "logsumexp"),
    *("rsqrt", "reciprocal", "softplus", "interpolate"),
    *("cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "kl_div"),
    "binary_cross_entropy_with_logits",
)
"""What it computes in float32."""
FULL_OUTPUT = _spellings("softmax", "log_softmax", "sum", "prod", "cumsum", "cumprod")
"""What gives float32, unless it is asked for something else."""


class Autocast(TorchFunctionMode):
    """Casts as ``torch.autocast("cuda", torch.bfloat16)`` does; tensors on ``meta`` only.

    Not imitated: its cache (a trained weight that is used twice is cast twice), and the few small places where our
    model switches it off.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FULL_OUTPUT:
            asked = any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values()))
            if args and _is_cast(args[0]) and not asked:
                kwargs = {**kwargs, "dtype": torch.float32}
        elif func in LOWER or func in FULL:
            dtype = torch.bfloat16 if func in LOWER else torch.float32
            args, kwargs = tree_map(lambda value: value.to(dtype) if _is_cast(value) else value, (args, kwargs))
        return func(*args, **kwargs)


def _is_cast(value: Any) -> bool:
    meta = isinstance(value, Tensor) and value.device.type == "meta"
    return meta and value.is_floating_point() and value.dtype != torch.float64
