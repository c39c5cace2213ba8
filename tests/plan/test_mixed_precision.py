"""Autocast on tensors without memory against PyTorch's own for CUDA, which its fake tensors follow without a GPU."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from sim4seg.plan.mixed_precision import Autocast

CALLS = {
    "linear": lambda a, b: F.linear(a, b),
    "@": lambda a, b: a @ b,
    "bmm": lambda a, b: torch.bmm(a[None], b[None]),
    "einsum": lambda a, b: torch.einsum("ij,jk->ik", a, b),
    "conv2d": lambda a, b: F.conv2d(a[None, None], b[None, None]),
    "conv_transpose2d": lambda a, b: F.conv_transpose2d(a[None, None], b[None, None]),
    "attention": lambda a, b: F.scaled_dot_product_attention(a[None, None], b[None, None], b[None, None]),
    "layer_norm": lambda a, b: F.layer_norm(a, (4,), b[0], b[0]),
    "group_norm": lambda a, b: F.group_norm(a[None], 2),
    "normalize": lambda a, b: F.normalize(a),
    "vector_norm": lambda a, b: torch.linalg.vector_norm(a),
    "softmax": lambda a, b: a.softmax(-1),
    "softmax of F": lambda a, b: F.softmax(a, -1),
    "softmax as asked": lambda a, b: F.softmax(a, -1, dtype=torch.bfloat16),
    "**": lambda a, b: a**2,
    "rsqrt": lambda a, b: torch.rsqrt(a),
    "1 /": lambda a, b: 1 / a,
    "sqrt": lambda a, b: a.sqrt(),
    "sum": lambda a, b: a.sum(),
    "mean": lambda a, b: a.mean(),
    "gelu": lambda a, b: F.gelu(a),
    "silu": lambda a, b: F.silu(a),
    "+": lambda a, b: a + b,
    "dropout": lambda a, b: F.dropout(a, 0.5),
    "cross_entropy": lambda a, b: F.cross_entropy(a, torch.zeros(4, dtype=torch.long, device=a.device)),
    "bce": lambda a, b: F.binary_cross_entropy_with_logits(a, b),
    "interpolate": lambda a, b: F.interpolate(a[None, None], scale_factor=2, mode="bilinear"),
}


@pytest.fixture
def cuda_autocast():
    """What ``torch.autocast("cuda")`` sets; it would refuse where there is no GPU.

    Without deterministic kernels, which another test may have asked for: with them, interpolation is put together from
    other operations.
    """
    before, deterministic = torch.get_autocast_dtype("cuda"), torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    yield
    torch.set_autocast_enabled("cuda", False)
    torch.set_autocast_dtype("cuda", before)
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.parametrize("held", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", CALLS)
def test_results_have_the_type_that_a_gpu_would_give_them(name, held, cuda_autocast):
    with FakeTensorMode():
        wanted = CALLS[name](*(torch.empty(4, 4, device="cuda", dtype=held) for _ in range(2))).dtype
    with Autocast():
        found = CALLS[name](*(torch.empty(4, 4, device="meta", dtype=held) for _ in range(2))).dtype
    assert found == wanted


def test_tensors_with_memory_are_left_alone():
    with Autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
