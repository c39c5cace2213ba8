"""A published checkpoint becomes a model of ours: right weights in right places, or nothing and the names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from sim4seg.cli import app
from sim4seg.errors import ModelError
from sim4seg.inference.tts import answer_batch
from sim4seg.model import load
from sim4seg.model.weights.convert import convert_lisa
from sim4seg.model.weights.lisa_template import LISA_TEMPLATE
from tests.weights.published import (
    QUESTION,
    language,
    sam,
    write_clip,
    write_published,
)

PREFIX = "model.visual_model."


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def test_bin_and_safetensors_convert_to_the_same_bytes_in_the_same_dtype(published, converted, tmp_path):
    write_published(tmp_path, "bin")
    report = convert_lisa(tmp_path / "lisa", tmp_path / "out", clip=tmp_path / "clip", shard_bytes=2_000_000)
    names = sorted(file.name for file in converted.iterdir())
    assert names == sorted(file.name for file in (tmp_path / "out").iterdir())
    assert "model.safetensors.index.json" in names
    for file in set(names) - {"conversion.json"}:
        assert (converted / file).read_bytes() == (tmp_path / "out" / file).read_bytes()
    assert {tensor.dtype for tensor in all_tensors(converted).values()} == {torch.bfloat16}
    assert report["left_out"] == report["filled_with_zeros"] == []
    assert {file["name"].split(".")[-1] for file in report["files"]} == {"bin"}


def test_converted_model_answers_with_text_and_a_mask(converted):
    model, processor = load(converted)
    assert model.dtype == torch.bfloat16
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    asked = {"temperature": 0.7, "max_new_tokens": 6, "seeds": [1]}
    answer = answer_batch(model, processor, [image], [QUESTION], **asked)[0][0]
    assert answer.mask.shape == (50, 70)
    assert np.isfinite(answer.probability).all()
    assert answer.probability.std() > 0
    assert answer.text
    assert processor.frames.template == LISA_TEMPLATE, "asked as the preset that starts from it"


def test_language_logits_equal_those_of_llama_and_clip_put_together_by_hand(published, converted):
    """LLaVA as its paper describes it: CLIP's last but one layer, one linear layer, in place of the image tokens."""
    model, processor = load(converted)
    tensors = all_tensors(published / "lisa")
    vocabulary = len(AutoTokenizer.from_pretrained(published / "lisa"))
    llama = LlamaForCausalLM(LlamaConfig(**language(vocabulary))).eval()
    llama.load_state_dict({n: t.float() for n, t in tensors.items() if n in llama.state_dict()})
    clip: CLIPVisionModel = write_clip(published / "again").to(torch.bfloat16).float()
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[5, 9, *[processor.image_token_id] * 16, 40, 41, processor.seg_token_id, 7]])
    with torch.no_grad():
        seen = clip(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        weight, bias = (tensors[f"model.mm_projector.{part}"].float() for part in ("weight", "bias"))
        features = seen @ weight.T + bias
        words = llama.model.embed_tokens(ids.clamp(max=vocabulary - 1))
        expected = llama(inputs_embeds=torch.cat((words[:, :2], features, words[:, 18:]), dim=1)).logits
        found = model.float().lvlm(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).logits
    torch.testing.assert_close(found[..., :vocabulary], expected, atol=2e-5, rtol=1e-4)
    assert found.shape[-1] == vocabulary + 1
    assert (found[..., vocabulary] < found[..., :vocabulary].amax(-1)).all()  # an image token is never written
    assert expected.std() > 0.05


def test_masks_equal_those_of_segment_anything_loaded_from_the_published_keys(published, converted):
    model, _ = load(converted)
    reference = sam().eval()
    own = {n.removeprefix(PREFIX): t.float() for n, t in all_tensors(published / "lisa").items() if PREFIX in n}
    reference.load_state_dict(own)
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(1, 3, 128, 128, generator=generator)
    seg, prompt = torch.randn(1, 256, generator=generator), torch.rand(1, 1, 32, 32, generator=generator).round()
    segmenter = model.float().segmenter
    with torch.no_grad():
        embeddings = reference.image_encoder(pixels)
        _, dense = reference.prompt_encoder(points=None, boxes=None, masks=prompt)
        masks, iou = reference.mask_decoder(
            image_embeddings=embeddings,
            image_pe=reference.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=seg[:, None],
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        logits, predicted = segmenter.decode(segmenter.encode(pixels), seg, prompt)
    torch.testing.assert_close(logits, masks[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(predicted, iou[:, 0], atol=1e-4, rtol=1e-4)
    assert masks.std() > 1e-3


def test_projection_and_two_layer_projector_land_where_they_belong(published, tmp_path):
    folder = shutil.copytree(published / "lisa", tmp_path / "lisa")
    for file in folder.glob("model*"):
        file.unlink()
    tensors = all_tensors(published / "lisa")
    second = torch.randn(64, 64).to(torch.bfloat16)
    for part in ("weight", "bias"):
        tensors[f"model.mm_projector.0.{part}"] = tensors.pop(f"model.mm_projector.{part}")
    tensors |= {"model.mm_projector.2.weight": second, "model.mm_projector.2.bias": second[0].clone()}
    save_file(tensors, folder / "model.safetensors")
    convert_lisa(folder, tmp_path / "out", clip=published / "clip")
    ours = all_tensors(tmp_path / "out")
    assert torch.equal(ours["lvlm.model.multi_modal_projector.linear_2.weight"], second)
    assert torch.equal(ours["projection.2.bias"], tensors["model.text_hidden_fcs.0.2.bias"])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["lvlm_config"]["projector_hidden_act"] == "gelu"


def test_vision_tower_in_the_checkpoint_and_float16_are_kept(published, tmp_path):
    tensors = all_tensors(published / "lisa")
    clip = torch.load(published / "clip" / "pytorch_model.bin", weights_only=True)
    prefix = "model.vision_tower.vision_tower."
    tensors |= {prefix + n: t * 2 for n, t in clip.items() if n.startswith("vision_model.") and t.is_floating_point()}
    folder = shutil.copytree(published / "lisa", tmp_path / "lisa", ignore=shutil.ignore_patterns("model*"))
    halves = {name: tensor.to(torch.float16) for name, tensor in tensors.items()}
    save_file(halves, folder / "model.safetensors")
    convert_lisa(folder, tmp_path / "out", clip=published / "clip")
    ours = all_tensors(tmp_path / "out")
    assert {tensor.dtype for tensor in ours.values()} == {torch.float16}
    name = "vision_model.encoder.layers.0.mlp.fc1.weight"
    assert torch.equal(ours["lvlm.model.vision_tower.encoder.layers.0.mlp.fc1.weight"], halves[prefix + name])


def changed(published: Path, tmp_path: Path, change) -> Path:
    """A copy of the checkpoint in one file, after ``change`` had its way with the tensors."""
    folder = shutil.copytree(published / "lisa", tmp_path / "lisa", ignore=shutil.ignore_patterns("model*"))
    tensors = all_tensors(published / "lisa")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def spoil(tensors):
    del tensors["model.layers.1.mlp.up_proj.weight"], tensors["model.text_hidden_fcs.0.2.bias"]
    tensors["model.depth_head.weight"] = torch.zeros(3)
    tensors["model.visual_model.mask_decoder.iou_token.weight"] = torch.zeros(1, 99)


def test_missing_unexpected_and_misshaped_weights_are_all_named(published, tmp_path):
    folder = changed(published, tmp_path, spoil)
    call = ["convert-lisa", str(folder), str(tmp_path / "out"), "--clip", str(published / "clip")]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 1
    for text in (
        "1 stored weights have no place here",
        "model.depth_head.weight",
        "2 weights of ours got nothing",
        "lvlm.model.language_model.layers.1.mlp.up_proj.weight",
        "projection.2.bias",
        "segmenter.mask_decoder.iou_token.weight: stored [1, 99], wanted [1, 256]",
        "--allow PATTERN",
    ):
        assert text in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_allowed_is_left_out_or_zero_and_reported(published, tmp_path):
    def change(tensors):
        del tensors["model.text_hidden_fcs.0.2.bias"]
        tensors["model.depth_head.weight"] = torch.zeros(3)

    folder = changed(published, tmp_path, change)
    call = ["convert-lisa", str(folder), str(tmp_path / "out"), "--clip", str(published / "clip")]
    call += ["--allow", "model.depth_head.*", "--allow", "projection.2.bias", "--allow", "not.there"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert report["left_out"] == ["model.depth_head.weight"]
    assert report["filled_with_zeros"] == ["projection.2.bias"]
    assert report["allowed"] == ["model.depth_head.*", "projection.2.bias"]
    assert not all_tensors(tmp_path / "out")["projection.2.bias"].any()


def test_what_else_cannot_be_converted_says_so(published, tmp_path):
    source, clip = published / "lisa", published / "clip"
    with pytest.raises(ModelError, match="weights of ours got nothing"):
        convert_lisa(source, tmp_path / "out", clip=_without_weights(clip, tmp_path / "clip0"))
    with pytest.raises(ModelError, match="no config.json"):
        convert_lisa(source, tmp_path / "out", clip=tmp_path)
    folder = changed(published, tmp_path, lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(1)}))
    with pytest.raises(ModelError, match="keeps its adapters apart"):
        convert_lisa(folder, tmp_path / "out", clip=clip)
    config = json.loads((source / "config.json").read_text())
    for change, message in (
        ({"num_hidden_layers": 10**9}, "config.json says num_hidden_layers 1000000000, the weights say 2"),
        ({"num_attention_heads": 7}, "num_attention_heads is 7"),
        ({"mm_vision_select_feature": "cls_patch"}, "class token"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        (folder / "model.safetensors").unlink(missing_ok=True)
        save_file(all_tensors(source), folder / "model.safetensors")
        with pytest.raises(ModelError, match=message):
            convert_lisa(folder, tmp_path / "out", clip=clip)
    (folder / "config.json").write_text(json.dumps({**config, "mm_vision_tower": "someone/else"}))
    with pytest.raises(ModelError, match="image encoder 'someone/else' are not known"):
        convert_lisa(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _without_weights(clip: Path, folder: Path) -> Path:
    shutil.copytree(clip, folder)
    stored = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({"logit_scale": stored["logit_scale"]}, folder / "pytorch_model.bin")
    return folder


def test_tokenizer_that_splits_seg_or_lacks_it_is_refused(published, tmp_path):
    words = json.loads((published / "lisa" / "tokenizer.json").read_text())
    for name in ("lacks", "splits", "many"):
        shutil.copytree(published / "lisa", tmp_path / name, ignore=shutil.ignore_patterns("model*"))
    lacking = {**words, "added_tokens": [t for t in words["added_tokens"] if t["content"] != "[SEG]"]}
    # A word that no merge leads to is known and never found.
    number = next(t["id"] for t in words["added_tokens"] if t["content"] == "[SEG]")
    splitting = {**lacking, "model": {**words["model"], "vocab": {**words["model"]["vocab"], "[SEG]": number}}}
    config = json.loads((published / "lisa" / "tokenizer_config.json").read_text())
    for entry in list(config.get("added_tokens_decoder", {}).items()):
        if entry[1]["content"] == "[SEG]":
            del config["added_tokens_decoder"][entry[0]]
    for name, content in (("lacks", lacking), ("splits", splitting)):
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(content))
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps(config))
    convert = dict(source=published / "lisa", out=tmp_path / "out", clip=published / "clip")
    with pytest.raises(ModelError, match=r"does not know \[SEG\]"):
        convert_lisa(**convert, tokenizer=tmp_path / "lacks")
    with pytest.raises(ModelError, match=r"splits \[SEG\] into 3 ids"):
        convert_lisa(**convert, tokenizer=tmp_path / "splits")
    with pytest.raises(ModelError, match="tokenizer cannot be read"):
        convert_lisa(**convert, tokenizer=tmp_path)
    more = AutoTokenizer.from_pretrained(published / "lisa")
    more.add_tokens(["<a>", "<b>"])
    more.save_pretrained(tmp_path / "many")
    with pytest.raises(ModelError, match="the tokenizer has .* ids, the word embeddings"):
        convert_lisa(**convert, tokenizer=tmp_path / "many")
