"""Adapters: saved apart and loaded again to the last bit, folded in to 1e-5, and only ever on their own base."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from sim4seg.cli import app
from sim4seg.config.train import Region
from sim4seg.errors import ModelError
from sim4seg.model import load
from sim4seg.model.presets import build
from sim4seg.model.weights.adapters import base_digest, load_adapters, save_adapters
from sim4seg.model.weights.merge import merge_adapter_files
from sim4seg.training.lora import add_lora
from tests.model.conftest import tokenizer  # noqa: F401
from tests.model.test_model import batch
from tests.settings import plain_loss, settings

pytestmark = pytest.mark.slow

SEG_ROW = "lvlm.model.language_model.embed_tokens.weight"


def base_of(tokenizer, folder, dtype, seed=3):  # noqa: F811
    model, processor = build("tiny", tokenizer, settings(Region), plain_loss(), seed=seed)
    model = model.to(dtype)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def train_a_little(model, seg):
    """Adapters that do something, and changes in the parts that are trained whole."""
    add_lora(model)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            if "lora_B" in name or name == "projection.2.weight" or "mask_decoder.iou_token" in name:
                parameter += 0.1 * noise
            if name == SEG_ROW:
                parameter[seg] += noise[seg]


def logits(model, data):
    data = {name: value for name, value in data.items() if name not in ("mask_labels", "labels", "conclusion")}
    ids = {name: data[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    with torch.no_grad():
        return model.eval()(**data).mask_logits, model.lvlm(**ids).logits


@pytest.fixture(scope="module")
def trained(request, tokenizer, tmp_path_factory):  # noqa: F811
    """The trained model in memory, what it says, and the folders of its base, its adapters and its whole state."""
    folder = tmp_path_factory.mktemp("trained")
    model, processor = base_of(tokenizer, folder / "base", getattr(request, "param", torch.float32))
    train_a_little(model, processor.seg_token_id)
    save_adapters(model, processor, folder / "adapters", folder / "base", "somebody/base@abc123")
    model.save_pretrained(folder / "whole")
    processor.save_pretrained(folder / "whole")
    data = batch(processor, [(64, 80)])
    return model, data, logits(model, data), folder


in_both_types = pytest.mark.parametrize(
    "trained", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"], indirect=True, scope="module"
)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@in_both_types
def test_a_whole_model_comes_back_to_the_last_bit(trained):
    _, data, _, folder = trained
    model, processor = load(folder / "base")
    model.save_pretrained(folder / "base2")
    processor.save_pretrained(folder / "base2")
    assert same(logits(model, data), logits(load(folder / "base2")[0], data))
    assert base_digest(folder / "base") == base_digest(folder / "base2")


@in_both_types
def test_adapters_on_their_base_are_the_trained_model_to_the_last_bit(trained):
    _, data, said, folder = trained
    again, _ = load_adapters(folder / "adapters", folder / "base")
    assert same(logits(again, data), said)
    assert not same(logits(load(folder / "base")[0], data), said)


def test_only_what_changed_is_kept(trained):
    model, _, _, folder = trained
    kept = load_file(folder / "adapters" / "adapters.safetensors")
    whole = {name for name in kept if ".lora_" not in name}
    assert whole == {
        f"{SEG_ROW}.changed_rows", f"{SEG_ROW}.changed_values",
        "projection.2.weight", "segmenter.mask_decoder.iou_token.weight",
    }  # fmt: skip
    assert kept[f"{SEG_ROW}.changed_rows"].tolist() == [model.config.seg_token_id]
    assert len(kept) - len(whole) == 3 * 2 * 2  # layers x (q, v) x (A, B)
    record = json.loads((folder / "adapters" / "adapters.json").read_text())
    assert (record["revision"], record["base_sha256"]) == ("somebody/base@abc123", base_digest(folder / "base"))
    assert (record["lora"]["r"], record["lora"]["alpha"], record["lora"]["dropout"]) == (8, 16.0, 0.05)


@pytest.mark.parametrize("source", ["adapters", "whole"])
def test_folded_in_they_say_the_same(trained, source, tmp_path):
    model, data, said, folder = trained
    call = ["merge-lora", str(folder / source), str(tmp_path / "merged")]
    result = CliRunner().invoke(app, call + (["--base", str(folder / "base")] if source == "adapters" else []))
    assert result.exit_code == 0, result.stderr
    assert "6 layers" in result.stdout
    merged, _ = load(tmp_path / "merged")
    assert merged.dtype == model.dtype
    assert "lora" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    for one, other in zip(logits(merged, data), said, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    assert not any("lora" in name or "base_layer" in name for name in weights)
    for name, module in model.named_modules():  # PEFT's own rule, in double precision
        if name.endswith("q_proj") and hasattr(module, "lora_A"):
            down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
            expected = module.base_layer.weight.double() + module.scaling["default"] * (up.double() @ down.double())
            torch.testing.assert_close(weights[f"{name}.weight"], expected.to(model.dtype), atol=1e-6, rtol=1e-2)


def test_both_ways_of_folding_give_the_same_bytes_whatever_the_size_of_files(trained, tmp_path):
    *_, folder = trained
    merge_adapter_files(folder / "adapters", tmp_path / "a", folder / "base")
    merge_adapter_files(folder / "whole", tmp_path / "b", shard_bytes=3_000_000)
    one = load_file(tmp_path / "a" / "model.safetensors")
    many = {n: t for file in (tmp_path / "b").glob("model-*.safetensors") for n, t in load_file(file).items()}
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    load(tmp_path / "b")


def extract(folder, source, out, *more):
    call = ["save-adapters", str(source), str(out), "--base", str(folder / "base"), *more]
    return CliRunner().invoke(app, call)


@in_both_types
def test_adapters_of_a_training_checkpoint_are_those_of_the_model(trained, tmp_path):
    """What a Trainer leaves in its work folder: weights and config.json, and no processor."""
    *_, folder = trained
    for file in ("model.safetensors", "config.json"):
        (tmp_path / "checkpoint-5").mkdir(exist_ok=True)
        shutil.copyfile(folder / "whole" / file, tmp_path / "checkpoint-5" / file)
    more = ["--revision", "somebody/base@abc123", "--processor", str(folder / "base")]
    result = extract(folder, tmp_path / "checkpoint-5", tmp_path / "out", *more)
    assert result.exit_code == 0, result.stderr
    assert "adapters of 6 layers" in result.stdout
    names = sorted(file.name for file in (folder / "adapters").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "out").iterdir())
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (folder / "adapters" / name).read_bytes(), name


def test_frozen_weights_in_fewer_bits_are_the_base_s(trained, tmp_path):
    """Training may hold them in bfloat16; what was trained is float32, and so is what both commands make of it."""
    model, data, said, folder = trained
    mixed = shutil.copytree(folder / "whole", tmp_path / "mixed")
    kept = load_file(folder / "adapters" / "adapters.safetensors")
    is_kept = {name.partition(".changed_")[0] for name in kept}
    weights = load_file(folder / "whole" / "model.safetensors")
    halves = {n: t.clone() if n.replace(".base_layer.", ".") in is_kept else t.bfloat16() for n, t in weights.items()}
    save_file(halves, mixed / "model.safetensors", metadata={"format": "pt"})
    assert extract(folder, mixed, tmp_path / "out").exit_code == 0
    assert json.loads((tmp_path / "out" / "adapters.json").read_text())["revision"] == "base"
    assert same(logits(load_adapters(tmp_path / "out", folder / "base")[0], data), said)
    merge_adapter_files(mixed, tmp_path / "merged")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in merged.values()} == {torch.float32}
    name = next(name for name in halves if name.endswith("0.self_attn.q_proj.base_layer.weight"))
    layer = model.get_submodule(name.removesuffix(".base_layer.weight"))
    expected = halves[name].double() + layer.get_delta_weight("default").double()
    torch.testing.assert_close(merged[name.replace(".base_layer.", ".")].double(), expected, atol=1e-6, rtol=1e-6)
    assert load(tmp_path / "merged")[0].dtype == torch.float32


def test_what_has_no_adapters_or_another_base_gives_none(trained, tmp_path):
    *_, folder = trained
    changed = shutil.copytree(folder / "whole", tmp_path / "changed")
    config = json.loads((changed / "config.json").read_text())
    for lora, message in ((None, "does not say the adapters' settings"), ({"r": 8}, "does not say the adapters'")):
        (changed / "config.json").write_text(json.dumps({**config, "lora": lora}))
        assert message in extract(folder, changed, tmp_path / "out").stderr
    assert "holds no LoRA adapters" in extract(folder, folder / "base", tmp_path / "out").stderr
    model, _ = load(folder / "base")
    model.lvlm.save_pretrained(tmp_path / "lvlm")
    call = ["save-adapters", str(folder / "whole"), str(tmp_path / "out"), "--base", str(tmp_path / "lvlm")]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 1
    assert "the base lacks 6 of the 6 weights that have adapters" in result.stderr
    assert not (tmp_path / "out").exists()


def test_another_base_is_refused_with_both_digests(trained, tokenizer, tmp_path):  # noqa: F811
    model, *_, folder = trained
    base_of(tokenizer, tmp_path / "other", model.dtype, seed=4)
    digests = [base_digest(folder / "base"), base_digest(tmp_path / "other")]
    for use in (load_adapters, lambda adapters, base: merge_adapter_files(adapters, tmp_path / "out", base)):
        with pytest.raises(ModelError, match=f"(?s){digests[0]}.*{digests[1]}.*somebody/base@abc123"):
            use(folder / "adapters", tmp_path / "other")
    assert not (tmp_path / "out").exists()


def test_a_model_with_adapters_in_it_does_not_load_as_if_it_had_none(trained):
    *_, folder = trained
    with pytest.raises(ModelError, match=r"(?s)weights not of this model.*missing.*merge-lora"):
        load(folder / "whole")


def test_what_cannot_be_folded_in_says_so(trained, tmp_path):
    *_, folder = trained

    def refused(message, *arguments):
        with pytest.raises(ModelError, match=message):
            merge_adapter_files(*arguments[:1], tmp_path / "out", *arguments[1:])

    refused("no adapters to fold in", folder / "base")
    refused("adapters only, of the base somebody/base@abc123", folder / "adapters")
    changed = shutil.copytree(folder / "whole", tmp_path / "whole")
    (changed / "processor.json").unlink()
    refused("no processor.json", changed)
    assert merge_adapter_files(changed, tmp_path / "with", processor=folder / "base") == 6
    assert (tmp_path / "with" / "processor.json").read_bytes() == (folder / "base" / "processor.json").read_bytes()
    weights, config = load_file(changed / "model.safetensors"), json.loads((changed / "config.json").read_text())
    first = next(name for name in weights if ".lora_A." in name)
    for change, message in (
        ({first: None}, "half of one"),
        ({first.replace("lora_A", "lora_magnitude_vector"): torch.zeros(3)}, "cannot be folded in"),
        ({first: weights[first][:, :3].contiguous()}, re.escape("do not fit")),
    ):
        new = {name: tensor for name, tensor in (weights | change).items() if tensor is not None}
        save_file(new, changed / "model.safetensors", metadata={"format": "pt"})
        refused(message, changed)
    (changed / "config.json").write_text(json.dumps({key: v for key, v in config.items() if key != "lora"}))
    refused("does not say the adapters' alpha", changed)


def test_a_folder_of_adapters_that_was_tampered_with_is_refused(trained, tmp_path):
    *_, folder = trained
    changed = shutil.copytree(folder / "adapters", tmp_path / "adapters")
    record = json.loads((changed / "adapters.json").read_text())
    kept = load_file(changed / "adapters.safetensors")

    def refused(message):
        with pytest.raises(ModelError, match=message):
            load_adapters(changed, folder / "base")

    for field, value in (("dtype", "float8"), ("base_sha256", "../x"), ("lora", {"r": 10**9}), ("more", 1)):
        (changed / "adapters.json").write_text(json.dumps({**record, field: value}))
        refused("not of the known form")
    (changed / "adapters.json").write_text(json.dumps(record))
    lora = next(name for name in kept if ".lora_" in name)
    for change, message in (
        ({lora: None}, "LoRA layers without weights"),
        ({"lvlm.extra": torch.zeros(2)}, "weights that the model has no place for"),
        ({f"{SEG_ROW}.changed_rows": torch.tensor([10**6])}, "does not fit the base"),
        ({f"{SEG_ROW}.changed_rows": torch.tensor([-1])}, "does not fit the base"),
        ({"projection.2.weight": torch.zeros(3, 3)}, "does not fit the base"),
    ):
        new = {name: tensor for name, tensor in (kept | change).items() if tensor is not None}
        save_file(new, changed / "adapters.safetensors")
        refused(message)
