"""Weights file by file: laid out as huggingface_hub would, never more than a file of them in memory."""

import gc

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file

from sim4seg.model.weights.writer import write_tensors

SHAPES = {"b": (100,), "a": (300,), "large": (2000,), "c": (50, 4), "d": (200,), "e": (7,)}


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def sizes(tensors):
    return {name: tensor.nbytes for name, tensor in tensors.items()}


@pytest.mark.parametrize("shard_bytes", [1600, 3000, 10**6])
def test_files_are_those_that_huggingface_hub_would_write(tensors, tmp_path, shard_bytes):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    files = write_tensors(ours, sizes(tensors), tensors.__getitem__, shard_bytes)
    save_torch_state_dict(tensors, theirs, max_shard_size=shard_bytes)
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
    assert sorted(files) == sorted(path.name for path in theirs.glob("*.safetensors"))
    for path in theirs.glob("*.safetensors"):
        assert (ours / path.name).read_bytes() == path.read_bytes()
    whole = {name: tensor for file in files for name, tensor in load_file(ours / file).items()}
    assert whole.keys() == tensors.keys() and all(torch.equal(whole[name], tensors[name]) for name in tensors)


def bytes_of_tensors():
    """Of all tensors that Python still knows."""
    gc.collect()
    return sum(each.nbytes for each in gc.get_objects() if type(each) is torch.Tensor)


def test_no_more_than_one_file_is_in_memory(tmp_path):
    before, most = bytes_of_tensors(), 0

    def read(name):
        nonlocal most
        most = max(most, bytes_of_tensors() - before)
        return torch.full(SHAPES[name], 1.0)

    sizes = {name: 4 * torch.Size(shape).numel() for name, shape in SHAPES.items()}
    files = write_tensors(tmp_path, sizes, read, 1600)
    assert len(files) == 4 and 0 < most < 1600


def test_names_may_share_memory(tmp_path):
    block = torch.arange(100.0).reshape(10, 10)
    rows = {"row": block[2], "same row": block[2], "whole": block}
    write_tensors(tmp_path, sizes(rows), rows.__getitem__)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[name], rows[name]) for name in rows)
