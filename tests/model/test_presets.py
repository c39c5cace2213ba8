"""Every preset without memory for weights: counts by formula, what is trained, shapes through a whole forward pass.

And what presets start from: published weights, read to the last one or refused.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from sim4seg.config.params import load_params
from sim4seg.config.train import PresetName, Region, Train, Weights
from sim4seg.errors import ConfigError, ModelError
from sim4seg.model.configuration import PAPER_LOSS, PAPER_REGION
from sim4seg.model.presets import PRESETS, build, catalogue, llava, on_meta, prepare
from sim4seg.plan.dry_run import Lengths, make_batch, run_forward
from sim4seg.plan.step_cost import token_grid
from sim4seg.training.lora import add_lora
from tests.settings import plain_loss, plain_train, settings

INFRA = Path(__file__).parents[2] / "infra/train"
FULL = {name: preset for name, preset in PRESETS.items() if name in ("paper", "llava-1.5", "medsam", "qwen2.5-vl")}


def count(module):
    return sum(p.numel() for p in module.parameters())


def llama(rows, width, inner, layers, keys, bias=False):
    """Embeddings, layers (queries, keys, values, output; three of the MLP; two norms), last norm."""
    attention = 2 * width * width + 2 * width * keys + (width + 2 * keys) * bias
    return rows * width + layers * (attention + 3 * width * inner + 2 * width) + width


def clip(tokens, width, inner, layers, patch):
    embedding = width + (tokens + 1) * width + 3 * patch**2 * width
    return embedding + 4 * width + layers * (4 * (width**2 + width) + 4 * width + 2 * width * inner + width + inner)


def qwen_vision(width, inner, layers, patch, out):
    block = 2 * width + 4 * width**2 + 4 * width + 3 * width * inner + 2 * inner + width
    merger = width + (4 * width) ** 2 + 4 * width + 4 * width * out + out
    return 3 * 2 * patch**2 * width + layers * block + merger


def sam_encoder(width, layers, full, head, grid=64, window=14):
    blocks = layers * (12 * width**2 + 9 * width + 4 * width)
    relative = full * 2 * (2 * grid - 1) * head + (layers - full) * 2 * (2 * window - 1) * head
    return grid**2 * width + 3 * 256 * width + width + blocks + relative + 256 * width + 9 * 256**2 + 4 * 256


VICUNA = llama(0, 4096, 11008, 32, 4096)
PROJECTOR = 1024 * 4096 + 4096 + 4096**2 + 4096
EXPECTED = {  # vision tower, LVLM, SAM's image encoder
    "paper": (clip(256, 1024, 4096, 24, 14), VICUNA + 2 * 32004 * 4096 + PROJECTOR, sam_encoder(1280, 32, 4, 80)),
    "llava-1.5": (clip(576, 1024, 4096, 24, 14), VICUNA + 2 * 32064 * 4096 + PROJECTOR, sam_encoder(1280, 32, 4, 80)),
    "medsam": (clip(576, 1024, 4096, 24, 14), VICUNA + 2 * 32064 * 4096 + PROJECTOR, sam_encoder(768, 12, 4, 64)),
    "qwen2.5-vl": (
        qwen_vision(1280, 3420, 32, 14, 3584),
        llama(0, 3584, 18944, 28, 512, bias=True) + 2 * 152064 * 3584,
        sam_encoder(1280, 32, 4, 80),
    ),
}
PUBLISHED = {  # billions: LVLM, SAM
    "paper": (7.06, 0.641),
    "llava-1.5": (7.06, 0.641),
    "medsam": (7.06, 0.0937),
    "qwen2.5-vl": (8.29, 0.641),
}


@pytest.mark.parametrize("name", FULL)
def test_counts_and_trainable_set_at_full_size(name):
    model = on_meta(name, dtype=torch.bfloat16)
    vision, lvlm, encoder = EXPECTED[name]
    lvlm += vision
    assert count(model.family.vision_tower(model.lvlm)) == vision
    assert count(model.lvlm) == lvlm
    assert count(model.segmenter.image_encoder) == encoder
    assert (count(model.lvlm) / 1e9, count(model.segmenter) / 1e9) == pytest.approx(PUBLISHED[name], rel=2e-3)

    add_lora(model)
    text = model.config.lvlm_config.text_config
    adapted = {
        n.rpartition(".lora_A")[0].rpartition("layers.")[2] for n, _ in model.named_parameters() if "lora_A" in n
    }
    assert adapted == {f"{i}.self_attn.{p}" for i in range(text.num_hidden_layers) for p in ("q_proj", "v_proj")}
    keys = text.num_key_value_heads * text.hidden_size // text.num_attention_heads
    lora = text.num_hidden_layers * 8 * (2 * text.hidden_size + text.hidden_size + keys)
    hidden = text.hidden_size
    projection = hidden**2 + hidden + hidden * 256 + 256
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    decoder = count(model.segmenter.mask_decoder)
    assert sum(trained.values()) == lora + 2 * text.vocab_size * hidden + projection + decoder
    groups = ("lora_", "lm_head.", "embed_tokens.", "projection.", "segmenter.mask_decoder.")
    assert all(any(group in n for group in groups) for n in trained)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FULL, "smol"])
def test_a_whole_forward_pass_at_full_size(name):
    model = on_meta(name, dtype=torch.bfloat16)
    preset = PRESETS[name]
    add_lora(model, preset.trained, preset.seg_row_only)
    grid = token_grid(name)
    assert grid == {"paper": (16, 16), "smol": (14, 14)}.get(name, (24, 24))
    output = run_forward(model, make_batch(model, Lengths(grid, 30, 50), 2))
    assert output.loss.shape == ()
    prompt = 64 if name == "smol" else 256  # a quarter of SAM's side
    assert output.mask_logits.shape == (2, prompt, prompt)
    assert output.regions.shape == (2, 16, 16)
    assert set(output.parts) == {"text", "bce", "dice"}, "the paper's losses and nothing of ours"


@pytest.mark.parametrize("name", FULL)
def test_each_has_a_small_sibling_of_the_same_build(name):
    large, small = on_meta(name), on_meta(f"{name}-small")
    assert large.family is small.family
    assert count(small) * 1000 < count(large)
    assert {type(m).__name__ for m in small.modules()} == {type(m).__name__ for m in large.modules()}


def test_nothing_of_ours_is_in_what_starts_from_weights(tokenizer):
    """Layers keep what they are, no convolutional stems; only language models from scratch begin otherwise."""
    for name, preset in PRESETS.items():
        config = preset.configure(preset.vocabulary)[0] if preset.vocabulary else None
        assert preset.identity_start == (name in ("tiny", "mobile", "mobile-small"))
        if config is not None:
            assert not config.vision_conv_stem
            assert config.sam["conv_stem"] == (name == "smol"), "whose SAM starts at random"
            assert config.loss == {**config.loss, "text": 1, "bce": 2, "dice": 0.5, "region": 0, "iou": 0, "align": 0}
    model, _ = build("paper-small", tokenizer, settings(Region), plain_loss(), seed=0)
    assert bool(model.language_model.layers[0].self_attn.o_proj.weight.any())


def test_missing_weights_are_named_with_what_to_download(tmp_path):
    for name, part, word in (("paper", "lvlm", "LISA-7B-v1"), ("qwen2.5-vl", "lvlm", "Qwen2.5-VL-7B")):
        with pytest.raises(ConfigError, match=f"train.weights.{part} is empty(.|\n)*{word}(.|\n)*nothing is fetched"):
            prepare(plain_train(preset=name), tmp_path, 0)
    for lvlm in ("/nowhere", "someone/no-such-model"):
        with pytest.raises(ConfigError, match="not on this machine"):
            prepare(plain_train(preset="llava-1.5", weights=settings(Weights, lvlm=lvlm)), tmp_path, 0)
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        prepare(plain_train(preset="llava-1.5", weights=settings(Weights, lvlm=str(tmp_path))), tmp_path, 0)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(ConfigError, match=r"train.weights.sam is empty(.|\n)*medsam_vit_b"):
        prepare(plain_train(preset="medsam", weights=settings(Weights, lvlm=str(tmp_path))), tmp_path, 0)
    (tmp_path / "sam.pth").write_bytes(b"")
    given = settings(Weights, lvlm=str(tmp_path), sam=str(tmp_path / "sam.pth"), lvlm_sha256="0" * 64)
    with pytest.raises(ModelError, match="the weights have the digest"):
        prepare(plain_train(preset="medsam", weights=given), tmp_path, 0)


def test_from_scratch_but_for_sam(tokenizer, tmp_path):
    """A fresh model may start from the SAM of an earlier one; a language model would be left out without a word."""
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    earlier, _ = build("tiny", tokenizer, settings(Region), plain_loss(), seed=1)
    earlier.save_pretrained(tmp_path / "earlier")
    given = settings(Weights, sam=str(tmp_path / "earlier"))
    model, _ = prepare(plain_train(weights=given), tmp_path / "tokenizer", 2)
    fresh, _ = prepare(plain_train(), tmp_path / "tokenizer", 2)
    for name, weight in model.state_dict().items():
        source = earlier if name.startswith("segmenter.") else fresh
        assert torch.equal(weight, source.state_dict()[name]), name
    with pytest.raises(ConfigError, match=r"weights .*nowhere' are not on this machine(.|\n)*train\.weights\.sam"):
        prepare(plain_train(weights=settings(Weights, sam="/nowhere")), tmp_path / "tokenizer", 0)


@pytest.mark.parametrize("preset", [name for name in PRESETS if not PRESETS[name].pretrained])
@pytest.mark.parametrize(
    "name, value", [("lvlm", "models/x"), ("lvlm_revision", "main"), ("lvlm_sha256", "0" * 64), ("dtype", "bfloat16")]
)
def test_what_a_model_from_scratch_would_pass_over_is_refused(preset, name, value, tmp_path):
    message = rf"'{preset}' trains its language model from scratch, and train\.weights\.{name} is '{value}'"
    with pytest.raises(ConfigError, match=message):
        prepare(plain_train(preset=preset, weights=settings(Weights, **{name: value})), tmp_path, 0)


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_a_digest_or_a_revision_of_nothing_is_refused(preset, tmp_path):
    with pytest.raises(ConfigError, match=r"no train\.weights\.sam that this digest(.|\n)*train\.weights\.sam_sha256"):
        prepare(plain_train(preset=preset, weights=settings(Weights, sam_sha256="0" * 64)), tmp_path, 0)
    with pytest.raises(ConfigError, match=r"train\.weights\.lvlm is a folder(.|\n)*train\.weights\.lvlm_revision"):
        prepare(
            plain_train(preset="paper", weights=settings(Weights, lvlm=str(tmp_path), lvlm_revision="main")),
            tmp_path,
            0,
        )


def test_weights_of_another_build_are_refused(tokenizer, tmp_path):
    model, processor = build("qwen2.5-vl-small", tokenizer, settings(Region), plain_loss(), seed=0)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="LVLM is qwen2_5_vl, not llava"):
        prepare(plain_train(preset="paper", weights=settings(Weights, lvlm=str(tmp_path))), tmp_path, 0)


def publish(name, tokenizer, folder, monkeypatch):
    """A small preset's LVLM as published, without ``[SEG]``, and parameters with a sibling that asks for weights."""
    model, _ = build(name, tokenizer, settings(Region), plain_loss(), seed=4)
    model.lvlm.save_pretrained(folder)
    plain = json.loads(tokenizer.backend_tokenizer.to_str())
    plain["added_tokens"] = [t for t in plain["added_tokens"] if t["content"] != "[SEG]"]
    del plain["model"]["vocab"]["[SEG]"]
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(plain))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["extra_special_tokens"] = config["additional_special_tokens"] = ["<image>"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setitem(catalogue.PRESETS, "given", replace(PRESETS[name], lvlm="a small LVLM"))
    return model, plain_train(weights=settings(Weights, lvlm=str(folder))).model_copy(update={"preset": "given"})


WITH_LVLM = ["llava-1.5-small", "qwen2.5-vl-small", "smol-small"]


@pytest.mark.parametrize("name", WITH_LVLM)
def test_published_weights_get_the_new_token_and_keep_the_rest(name, tokenizer, tmp_path, monkeypatch):
    model, params = publish(name, tokenizer, tmp_path, monkeypatch)
    loaded, theirs = prepare(params, tmp_path, 0)
    ids = theirs.tokenizer("[SEG]", add_special_tokens=False)["input_ids"]
    assert ids == [loaded.config.seg_token_id]
    for name, value in model.lvlm.state_dict().items():
        mine = loaded.lvlm.state_dict()[name]
        assert torch.equal(mine[: len(value)] if value.ndim else mine, value), name
    assert loaded.config.loss == params.loss.model_dump()


def drop(weights, name):
    del weights[name]


def add(weights, name):
    weights["model.depth_head.weight"] = torch.zeros(3)


def misshape(weights, name):
    weights[name] = weights[name][:-1].contiguous()


def keep_what_old_files_have(weights, name):
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)


@pytest.mark.parametrize("name", WITH_LVLM)
@pytest.mark.parametrize(
    "change, message",
    [
        (drop, r"1 weights missing \(\S*layers\.1\.mlp\.up_proj\.weight\)"),
        (add, r"1 weights not of this model \(\S*depth_head\.weight\)"),
        (
            misshape,
            r"1 weights of another shape \(\S*layers\.1\.mlp\.up_proj\.weight: stored \[159, 64\], wanted \[160",
        ),
        (keep_what_old_files_have, None),
    ],
)
def test_published_weights_that_do_not_come_out_even_are_refused(
    name, change, message, tokenizer, tmp_path, monkeypatch
):
    """Transformers would fill what is missing at random; it passes over what it knows to be of no use."""
    _, params = publish(name, tokenizer, tmp_path, monkeypatch)
    file = tmp_path / "model.safetensors"
    weights = {key: value.clone() for key, value in load_file(file).items()}  # the file is written anew
    change(weights, next(key for key in weights if key.endswith("layers.1.mlp.up_proj.weight")))
    save_file(weights, file, metadata={"format": "pt"})
    if message is None:
        prepare(params, tmp_path, 0)
        return
    with pytest.raises(ModelError, match=message):
        prepare(params, tmp_path, 0)


def test_published_weights_that_are_damaged_or_pickled_are_refused(tokenizer, tmp_path, monkeypatch):
    _, params = publish("llava-1.5-small", tokenizer, tmp_path, monkeypatch)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for length, message in ((len(whole) - 1, "the header describes"), (5, "the header claims")):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=message):
            prepare(params, tmp_path, 0)
    file.unlink()
    with pytest.raises(ModelError, match="no weights"):
        prepare(params, tmp_path, 0)
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickles \(pytorch_model\.bin\)"):
        prepare(params, tmp_path, 0)


def test_params_know_every_preset():
    assert set(get_args(PresetName)) == set(PRESETS)


def test_the_papers_settings_are_a_parameter_file():
    train = load_params(INFRA / "params.paper.yaml").train
    assert (train.region.model_dump(), train.loss.model_dump()) == (PAPER_REGION, PAPER_LOSS)
    assert (train.preset, train.lora, train.learning_rate, train.warmup_steps) == ("paper", True, 3e-4, 100)
    # Two samples and ten passes a GPU, 1000 steps an epoch: here on one, as params/8gpu.yaml is on eight.
    assert (train.batch_size, train.accumulation) == (2, 10)
    assert (train.steps_per_epoch, train.epochs, train.weight_decay) == (1000, 4, 0)
    eight = settings(Train, **yaml.safe_load((INFRA / "params/8gpu.yaml").read_text())["train"])
    alike = (
        "steps_per_epoch",
        "epochs",
        "batch_size",
        "learning_rate",
        "warmup_steps",
        "betas",
        "weight_decay",
        "loss",
    )
    assert eight.accumulation == 8 * train.accumulation
    assert [getattr(eight, name) for name in alike] == [getattr(train, name) for name in alike]
    assert train.loss == plain_loss(text=1, bce=2, dice=0.5, region=0, iou=0, align=0, attend=0, conclusion=1)
    assert (train.region.grid, train.region.top_n, train.word_dropout, train.bf16) == (16, 36, 0, "on")


def test_lisa_is_asked_as_it_was_trained():
    """LLaVA v1's first sentence; LLaVA 1.5 has Vicuna's, of a curious user."""
    frames = PRESETS["paper"].configure(PRESETS["paper"].vocabulary)[1]
    assert frames.template.startswith(
        "<s>A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the human's questions. USER: <im_start>"
    )
    assert "curious user" in llava.LLAVA_TEMPLATE
