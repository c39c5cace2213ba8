"""Files that are damaged, lie about themselves, or want to run something: refused with a message, nothing run."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import PretrainedConfig, PreTrainedModel

from sim4seg.errors import ModelError
from sim4seg.model.weights.checkpoint import Checkpoint, open_checkpoint
from tests.weights.published import write_shards

TENSORS = {"a": torch.arange(12.0).view(3, 4), "b": torch.ones(5, dtype=torch.bfloat16), "c": torch.zeros(2, 2)}


class OneConfig(PretrainedConfig):
    model_type = "one"


class One(PreTrainedModel):
    """A model of one weight."""

    config_class = OneConfig

    def __init__(self, config: OneConfig) -> None:
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.zeros(2, 3))
        self.post_init()


class Payload:
    """Unpickling it makes a file: what a model file with code in it does, harmless."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    for inside in (Payload(tmp_path / "ran"), {"a": TENSORS["a"], "b": Payload(tmp_path / "ran")}):
        torch.save(inside, tmp_path / "pytorch_model.bin")
        with pytest.raises(ModelError, match="nothing in it was run"):
            open_checkpoint(tmp_path)
        assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "pytorch_model.bin", weights_only=bool(0))
    assert (tmp_path / "ran").exists()  # it would have run


@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_whole_files_are_read_and_cut_ones_refused(tmp_path, form):
    write_shards(tmp_path, TENSORS, form, 2)
    checkpoint = open_checkpoint(tmp_path)
    for name, tensor in TENSORS.items():
        assert torch.equal(checkpoint.read(name), tensor)
        assert checkpoint.tensors[name].dtype == tensor.dtype
    file = sorted(tmp_path.glob(f"*00001*.{form}"))[0]
    whole = file.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"cut short|claims|describes|not a PyTorch file"):
            Checkpoint([file])


def header(text: bytes, data: bytes = b"", claimed: int | None = None) -> bytes:
    return (len(text) if claimed is None else claimed).to_bytes(8, "little") + text + data


ONE = b'{"a":{"dtype":"%s","shape":[%s],"data_offsets":[%s]}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(b"{}", claimed=10 * 10**9), "the header claims 10,000,000,000 bytes; the file has 10"),
        (header(b"{}", claimed=2**63), "the header claims"),
        (header(b"{broken"), "not JSON"),
        (header(b"[" * 5000), "not JSON"),
        (header(b"[]"), "not a JSON object"),
        (header(b'{"a":7}'), "lacks a valid shape"),
        (header(ONE % (b"F32", b"2500000000", b"0,10000000000"), b"1234"), "describes 10,000,000,000 bytes"),
        (header(ONE % (b"F32", b"1", b"0,8"), b"12345678"), "does not fit data"),
        (header(ONE % (b"F32", b"-1", b"0,-4")), "does not fit data"),
        (header(ONE % (b"F8_E4M3", b"1", b"0,1"), b"1"), "element type 'F8_E4M3'"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, content, message):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        open_checkpoint(tmp_path)


@settings(max_examples=40, deadline=None)
@example(at=97, value=97, form="safetensors")  # two tensors of one name
@given(at=st.integers(0, 300), value=st.integers(0, 255), form=st.sampled_from(["bin", "safetensors"]))
def test_a_changed_byte_gives_tensors_or_a_message_and_nothing_else(tmp_path_factory, at, value, form):
    folder = tmp_path_factory.mktemp("changed")
    write_shards(folder, TENSORS, form, 1)
    file = next(folder.glob(f"*-00001-*.{form}"))
    raw = bytearray(file.read_bytes())
    raw[at % len(raw)] = value
    file.write_bytes(raw)
    try:
        checkpoint = Checkpoint([file])
        for name in checkpoint.tensors:
            assert isinstance(checkpoint.read(name), torch.Tensor)
    except ModelError:
        pass


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "sub/x.bin", "..", "x\\y.bin", "x.py", ""])
def test_an_index_may_only_name_files_beside_it(tmp_path, name):
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelError, match="only files beside it are read"):
        open_checkpoint(inner)


def test_an_index_that_is_wrong_is_refused(tmp_path):
    write_shards(tmp_path, TENSORS, "safetensors", 2)
    index = tmp_path / "model.safetensors.index.json"
    good = json.loads(index.read_text())

    def refused(content, message):
        index.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(ModelError, match=message):
            open_checkpoint(tmp_path)

    refused("{", "not JSON")
    refused([], "a JSON object is expected")
    refused({"weight_map": {}}, "no weight_map")
    refused({**good, "metadata": {"total_size": 10**10}}, "the index claims 10,000,000,000 bytes")
    refused({**good, "metadata": {"total_size": "x"}}, "not a number")
    refused({**good, "weight_map": {**good["weight_map"], "d": good["weight_map"]["a"]}}, "'d' is listed in")
    refused({**good, "weight_map": {**good["weight_map"], "a": good["weight_map"]["b"]}}, "disagree on 1 tensors")
    refused({**good, "weight_map": {**good["weight_map"], "a": "x.safetensors"}}, "x.safetensors is missing")
    with open(index, "wb") as stream:
        stream.truncate(10**10)
    with pytest.raises(ModelError, match="10,000,000,000 bytes; more than"):
        open_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="no weights"):
        open_checkpoint(tmp_path / "nowhere")


def test_what_is_checked_is_what_transformers_reads(tmp_path):
    """Of several layouts in one folder it takes safetensors before pickles, and one file before an index."""
    write_shards(tmp_path, TENSORS, "bin", 2)
    assert {file.suffix for file in open_checkpoint(tmp_path).files} == {".bin"}
    write_shards(tmp_path, TENSORS, "safetensors", 2)
    assert {file.suffix for file in open_checkpoint(tmp_path).files} == {".safetensors"}
    save_file({"weight": torch.ones(2, 3)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert list(open_checkpoint(tmp_path).tensors) == ["weight"]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "one"}))
    read = One.from_pretrained(tmp_path, use_safetensors=True)
    assert read.weight.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_torch_files_that_hold_something_else_are_refused(tmp_path):
    path = tmp_path / "pytorch_model.bin"

    def refused(message):
        with pytest.raises(ModelError, match=message):
            open_checkpoint(tmp_path)

    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    refused("of a PyTorch before 1.6")
    torch.save([1, 2], path)
    refused("a table of tensors is expected, not list")
    torch.save({"a": 3}, path)
    refused("'a' is not a plain tensor")
    torch.save({"a": torch.zeros(1).expand(10**10)}, path)
    refused("'a' is not a plain tensor that this file could hold")
    torch.save(TENSORS, path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry) + bytes(10**6))
    (tmp_path / "packed").replace(path)
    refused("would unpack to more")


def test_a_name_in_two_files_is_refused(tmp_path):
    for name in ("x", "y"):
        save_file({"a": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelError, match="'a' is in two files"):
        Checkpoint([tmp_path / "x.safetensors", tmp_path / "y.safetensors"])
