"""A GPU that is none: tensors say that they lie elsewhere, hold their numbers on the CPU, and do not mix with others.

PyTorch refuses an operation on tensors of two devices; so does this, where no GPU is at hand. Not shown by it: what a
GPU's kernels compute, gradients, and operations that have no kernel there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

FAR = "meta"
"""What they say. With ``cuda``, PyTorch would ask the driver."""
MAY_MIX = ("index", "index_put", "index_put_", "copy_", "_to_copy", "_index_put_impl_", "_unsafe_index")
"""Indices may lie on the CPU, and copying is between devices."""


class Far(Tensor):
    """A tensor that says it is on the GPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Far:
        made: Far = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(FAR),
        )
        made.inner = inner
        return made

    def __repr__(self) -> str:
        return f"Far({self.inner!r})"

    def tolist(self) -> Any:
        """Reading numbers off a GPU is allowed."""
        return self.inner.tolist()

    def item(self) -> Any:
        """As :meth:`tolist`."""
        return self.inner.item()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class PretendGpu(TorchDispatchMode):
    """While it is entered, tensors can be asked for there."""

    def __enter__(self) -> Any:
        """``torch.tensor`` would not tell what it makes there of."""
        self.plain = torch.tensor

        def tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
            made = self.plain(tree_map(near, data), *args, **kwargs)
            return made if device is None else made.to(device)

        torch.tensor = tensor  # type: ignore[assignment]
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        torch.tensor = self.plain
        super().__exit__(*raised)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def near(value: Any) -> Any:
    return value.inner if isinstance(value, Far) else value


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU; its results are far where an argument was, or where they were asked for there."""
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    name = func._schema.name.split("::")[1]
    here = [one for one in tensors if not isinstance(one, Far) and one.dim()]
    far = any(isinstance(one, Far) for one in tensors)
    if far and here and name not in MAY_MIX:
        raise RuntimeError(f"{func}: tensors on the GPU and on the CPU, {[tuple(one.shape) for one in here]}")
    device = kwargs.get("device")
    if device is not None:
        far = torch.device(device).type == FAR
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif name == "copy_":
        far = isinstance(args[0], Far)
    kwargs.pop("pin_memory", None)
    found = func(*tree_map(near, args), **tree_map(near, kwargs))
    changed = {id(near(one)): one for one in tensors}
    return tree_map(lambda one: _placed(one, far, changed) if isinstance(one, Tensor) else one, found)


def _placed(found: Tensor, far: bool, changed: dict[int, Tensor]) -> Tensor:
    if id(found) in changed:  # written in place
        return changed[id(found)]
    return Far(found) if far else found


def to_gpu(model: nn.Module) -> nn.Module:
    """Move weights and buffers, in place."""
    for module in model.modules():
        for kind in (module._parameters, module._buffers):
            for name, value in kind.items():
                if value is not None:
                    kind[name] = Far(value.detach())  # type: ignore[assignment]
    return model


def moved(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: Far(value) for name, value in inputs.items()}
