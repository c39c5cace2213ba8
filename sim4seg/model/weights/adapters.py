"""Adapters apart from their base: what training changed, and which base it changed.

A folder of adapters holds ``adapters.safetensors`` (LoRA matrices, and every other weight that differs from the base's:
changed rows only where most rows are the base's), ``adapters.json`` (:class:`AdapterRecord`), configuration and
processor. The base is named by its revision and the digest of its weights, and nothing else will be taken for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from sim4seg.atomic import atomic_directory, write_json
from sim4seg.digest import digest_bytes, digest_file
from sim4seg.errors import ModelError
from sim4seg.model.weights.bounded_json import read_object
from sim4seg.model.weights.checkpoint import Checkpoint, open_checkpoint
from sim4seg.model.weights.tensor_info import widest

if TYPE_CHECKING:
    from sim4seg.model.modeling import Sim4SegForConditionalGeneration
    from sim4seg.model.processing import Sim4SegProcessor

RECORD, TENSORS = "adapters.json", "adapters.safetensors"
ROWS, VALUES = ".changed_rows", ".changed_values"
BASE_LAYER = ".base_layer."
"""PEFT moves a layer's own weights below this name."""
INSIDE = "lvlm."
"""Where LoRA layers are; none are put into the segmenter."""


class Lora(BaseModel):
    """Settings that every adapter of a model shares."""

    model_config = ConfigDict(extra="forbid")

    r: int = Field(ge=1, le=4096)
    alpha: float
    dropout: float = Field(ge=0, lt=1)
    modules: list[Annotated[str, Field(pattern=rf"^{re.escape(INSIDE)}[A-Za-z0-9_.]+$")]] = Field(min_length=1)


class AdapterRecord(BaseModel):
    """What ``adapters.json`` holds.

    Attributes:
        revision: the base's name and revision, for people.
        base_sha256: of the base's weights, see :func:`base_digest`.
        dtype: of the model that was saved, the widest where it had several; the base is loaded in it.
        lora: None where there are no LoRA layers.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    revision: str
    base_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    dtype: Literal["float32", "bfloat16", "float16"]
    lora: Lora | None


def base_digest(folder: Path) -> str:
    """Hex SHA-256 over names and contents of the files of weights in a folder."""
    files = open_checkpoint(folder).files
    return digest_bytes(*(part for file in files for part in (file.name.encode(), digest_file(file).encode())))


def lora_of(model: torch.nn.Module) -> Lora | None:
    """The settings of a model's LoRA layers; None where it has none.

    Raises:
        ModelError: layers with different settings.
    """
    from peft.tuners.lora import LoraLayer

    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    if not layers:
        return None
    settings = {
        (layer.r["default"], float(layer.lora_alpha["default"]), float(getattr(layer.lora_dropout["default"], "p", 0)))
        for layer in layers.values()
    }
    if len(settings) > 1:
        raise ModelError(
            f"LoRA layers of different settings (r, alpha, dropout): {sorted(settings)}",
            remedy="merge the adapters and save the whole model",
        )
    r, alpha, dropout = settings.pop()
    return Lora(r=r, alpha=alpha, dropout=dropout, modules=sorted(layers))


def save_adapters(
    model: Sim4SegForConditionalGeneration, processor: Sim4SegProcessor, out: Path, base: Path, revision: str
) -> None:
    """Write what differs from the base; together with the base it is the model, to the last bit.

    Args:
        model: with or without LoRA layers.
        processor: saved beside it.
        out: folder to write, whole or not at all.
        base: folder of the whole model that training began from.
        revision: what the base is called, such as ``xinlai/LISA-7B-v1@<commit>``.

    Raises:
        ModelError: the base is of another shape.
    """
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write_adapters(state, lora_of(model), model.config, processor, out, base, revision)


def write_adapters(
    state: Mapping[str, Tensor],
    lora: Lora | None,
    config: Any,
    processor: Sim4SegProcessor,
    out: Path,
    base: Path,
    revision: str,
) -> None:
    """As :func:`save_adapters`, of a model's weights by name with its settings and its configuration.

    Raises:
        ModelError: the base is of another shape.
    """
    changes = _changes(state, open_checkpoint(base))
    dtype = widest(tensor.dtype for tensor in state.values())
    record = AdapterRecord(
        revision=revision,
        base_sha256=base_digest(base),
        dtype=str(dtype).removeprefix("torch."),  # type: ignore[arg-type]  # checked by pydantic
        lora=lora,
    )
    with atomic_directory(out) as partial:
        save_file(dict(sorted(changes.items())), partial / TENSORS, metadata={"format": "pt"})
        write_json(partial / RECORD, record.model_dump(mode="json"))
        config.dtype = dtype
        config.save_pretrained(partial)
        processor.save_pretrained(partial)


def _changes(state: Mapping[str, Tensor], base: Checkpoint) -> dict[str, Tensor]:
    in_base = {tensor.data_ptr() for name, tensor in state.items() if name.replace(BASE_LAYER, ".") in base.tensors}
    changes: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = name.replace(BASE_LAYER, ".")
        if plain not in base.tensors:
            if tensor.data_ptr() not in in_base:  # tied weights are stored under one name
                changes[name] = tensor.contiguous().clone()
            continue
        before = base.read(plain).to(tensor.dtype)
        if before.shape != tensor.shape:
            raise ModelError(
                f"{plain} is {list(tensor.shape)} in the model and {list(before.shape)} in the base",
                where=str(base.files[0].parent),
                remedy="give the folder that training began from",
            )
        if not torch.equal(before, tensor):
            changes |= _changed_rows(plain, before, tensor)
    return changes


def _changed_rows(name: str, before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """The rows that differ; all of it where that would be more than half."""
    rows = (before != after).flatten(1).any(1).nonzero().flatten() if after.ndim > 1 else None
    if rows is None or 2 * len(rows) > len(after):
        return {name: after.contiguous().clone()}
    return {name + ROWS: rows, name + VALUES: after[rows].contiguous()}


def read_record(folder: Path) -> AdapterRecord:
    """The record of a folder of adapters.

    Raises:
        ModelError: missing or not of the known form.
    """
    try:
        return AdapterRecord.model_validate(read_object(folder / RECORD))
    except ValidationError as error:
        raise ModelError(
            f"{RECORD} is not of the known form: {error.errors()[0]['loc']} {error.errors()[0]['msg']}",
            where=str(folder),
            remedy="give a folder that save_adapters wrote",
        ) from error


def check_base(folder: Path, record: AdapterRecord, base: Path) -> None:
    """Refuse a base that is not the one of the record.

    Raises:
        ModelError: names both digests.
    """
    digest = base_digest(base)
    if digest != record.base_sha256:
        raise ModelError(
            f"the adapters belong to another base: theirs has SHA-256 {record.base_sha256}, this one {digest}",
            where=f"{folder} on {base}",
            remedy=f"give the folder of {record.revision or 'the base they were trained on'}",
        )


def changed_tensor(name: str, before: Tensor | None, adapters: Checkpoint, dtype: torch.dtype) -> Tensor | None:
    """A weight after training, in ``dtype``: the base's (``before``), with what the adapters change in it.

    Raises:
        ModelError: the adapters' part is not of the base's shape.
    """
    if name in adapters.tensors:
        whole = adapters.read(name)
        if before is not None and whole.shape != before.shape:
            raise _misfit(name, adapters)
        return whole.to(dtype)
    if before is None or name + ROWS not in adapters.tensors:
        return before if before is None or not before.is_floating_point() else before.to(dtype)
    rows, values = adapters.read(name + ROWS), adapters.read(name + VALUES)
    inside = rows.dtype == torch.int64 and rows.ndim == 1 and len(rows) == len(values)
    if not inside or values.shape[1:] != before.shape[1:] or not bool(((rows >= 0) & (rows < len(before))).all()):
        raise _misfit(name, adapters)
    after = before.to(dtype, copy=True)
    after[rows] = values.to(dtype)
    return after


def _misfit(name: str, adapters: Checkpoint) -> ModelError:
    return ModelError(
        f"the adapters' part of {name} does not fit the base",
        where=str(adapters.files[0]),
        remedy="give adapters and base that belong together",
    )


def load_adapters(folder: Path, base: Path) -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    """The trained model with its LoRA layers in place, ready for inference or to be trained on.

    Raises:
        ModelError: another base (both digests are named), or adapters that do not fit.
    """
    from peft import LoraConfig, inject_adapter_in_model

    from sim4seg.model.configuration import Sim4SegConfig
    from sim4seg.model.modeling import Sim4SegForConditionalGeneration
    from sim4seg.model.processing import Sim4SegProcessor

    record = read_record(folder)
    check_base(folder, record, base)
    dtype = getattr(torch, record.dtype)
    config: Any = Sim4SegConfig.from_pretrained(folder)
    model = Sim4SegForConditionalGeneration.from_pretrained(base, config=config, dtype=dtype, use_safetensors=True)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()  # as sim4seg.model.load does, and for the same reason
    if record.lora:
        settings = LoraConfig(
            r=record.lora.r,
            lora_alpha=record.lora.alpha,
            lora_dropout=record.lora.dropout,
            target_modules=[name.removeprefix(INSIDE) for name in record.lora.modules],
        )
        inject_adapter_in_model(settings, model.lvlm)
        model = model.to(dtype)
    _fill(model, Checkpoint([folder / TENSORS]), dtype)
    return model.eval(), Sim4SegProcessor.from_pretrained(folder)


def _fill(model: torch.nn.Module, adapters: Checkpoint, dtype: torch.dtype) -> None:
    state = {name.replace(BASE_LAYER, "."): tensor for name, tensor in model.state_dict().items()}
    named = {name.removesuffix(ROWS).removesuffix(VALUES) for name in adapters.tensors}
    lacking = {name for name in state if ".lora_" in name} - named
    unknown = named - state.keys()
    if lacking or unknown:
        raise ModelError(
            f"weights that the model has no place for: {sorted(unknown)[:5]}; "
            f"its LoRA layers without weights: {sorted(lacking)[:5]}",
            where=str(adapters.files[0]),
            remedy="give adapters.json and adapters.safetensors of one save",
        )
    with torch.no_grad():
        for name in sorted(named):
            after = changed_tensor(name, state[name], adapters, dtype)
            if after is not None:
                state[name].copy_(after)
