"""Weights out of an ONNX file, under the names of the modules that an exporter wrote into its graph.

PyTorch's exporter keeps the names of some weights and folds others: a convolution with the norm that follows it, a
transposed matrix, the table of an attention's biases. Each still belongs to a node, and the node's output is named by
its module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sim4seg.errors import ConfigError, ModelError

RENAMED = "onnx::"
"""What the exporter's own names of folded weights begin with."""
TABLE_NUMBERS = 17
"""A constant of more numbers is a table that was learnt; shorter ones are shapes and factors."""


@dataclass
class OnnxWeights:
    """What an ONNX file holds.

    Attributes:
        named: weights whose names the exporter kept.
        modules: folded weights by module, as ``path.weight`` and ``path.bias``.
        tables: constants by module.
        loose: weights that were renamed and belong to no module, in the order of the graph.
    """

    named: dict[str, Tensor] = field(default_factory=dict)
    modules: dict[str, Tensor] = field(default_factory=dict)
    tables: dict[str, Tensor] = field(default_factory=dict)
    loose: list[Tensor] = field(default_factory=list)


def read_onnx(path: Path) -> OnnxWeights:
    """Read the weights of a file; nothing of its graph is run.

    Raises:
        ConfigError: the package onnx is not installed.
        ModelError: it is no ONNX file.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(
            "reading .onnx needs the package onnx", where=str(path), remedy='pip install "sim4seg[smol]"'
        ) from error
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path, load_external_data=False).graph
        stored = {one.name: _tensor(one) for one in graph.initializer}
    except (DecodeError, ValueError, TypeError) as error:
        raise ModelError(f"no ONNX file: {error}", where=str(path), remedy="download it again") from error
    outputs = {one.name for one in graph.output}
    network = OnnxWeights({name: value for name, value in stored.items() if not name.startswith(RENAMED)})
    for node in graph.node:
        # A node that makes the graph's output is named by that; what it reads is named by the module.
        name = node.input[0] if node.output[0] in outputs else node.output[0]
        _take(network, node, _module(name), stored)
    return network


def _tensor(stored: Any) -> Tensor:
    from onnx import numpy_helper

    return torch.from_numpy(numpy_helper.to_array(stored).copy())


def _module(output: str) -> str:
    """``/neck/neck.1/Mul_output_0`` -> ``neck.neck.1``; empty for a node of the graph itself."""
    return output.strip("/").rpartition("/")[0].replace("/", ".")


def _take(network: OnnxWeights, node: Any, module: str, stored: dict[str, Tensor]) -> None:
    """Put a node's folded weights where they belong."""
    if node.op_type == "Constant":
        value = _tensor(node.attribute[0].t) if node.attribute and node.attribute[0].HasField("t") else torch.empty(0)
        if value.numel() >= TABLE_NUMBERS:
            network.tables[module] = value
        return
    weights = [stored[name] for name in node.input if name in stored and name.startswith(RENAMED)]
    if not weights:
        return
    if not module or node.op_type not in ("Conv", "MatMul", "Mul", "Add"):
        network.loose += weights
    elif node.op_type == "MatMul":
        network.modules[f"{module}.weight"] = weights[0].T.contiguous()
    elif node.op_type == "Conv":
        network.modules |= {f"{module}.{part}": value for part, value in zip(("weight", "bias"), weights, strict=False)}
    else:
        network.modules[f"{module}.{'weight' if node.op_type == 'Mul' else 'bias'}"] = weights[0].flatten()
