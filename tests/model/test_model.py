"""The model as a whole: positions, one mask path, gradients, saving, bad inputs."""

import numpy as np
import pytest
import torch

from sim4seg.config.train import Region
from sim4seg.errors import ConfigError, ModelError
from sim4seg.inference.tts import answer_batch, choose
from sim4seg.model import load
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets import build
from sim4seg.training.lora import add_lora, fold_adapters_in
from tests.model.conftest import ANSWER, QUESTION
from tests.settings import plain_loss, settings

SIZES = [(64, 64), (40, 120), (200, 31), (1, 1), (20, 2000)]


def images(rng, sizes=SIZES):
    return [rng.integers(0, 255, (*s, 3) if i % 2 else s, dtype=np.uint8) for i, s in enumerate(sizes)]


def batch(processor, sizes=SIZES):
    rng = np.random.default_rng(0)
    n = len(sizes)
    return {
        **processor.image_inputs(images(rng, sizes)),
        **processor.text_inputs([QUESTION] * n, [ANSWER] * n),
        "mask_labels": processor.mask_labels([rng.random(s) > 0.5 for s in sizes]),
    }


def test_any_size_and_aspect_gives_a_mask_of_the_image_size(built):
    model, processor = built
    answers = answer_batch(
        model,
        processor,
        images(np.random.default_rng(1)),
        [QUESTION] * len(SIZES),
        temperature=0.7,
        max_new_tokens=3,
        seeds=list(range(len(SIZES))),
    )
    assert [a[0].mask.shape for a in answers] == SIZES


def test_seg_state_is_the_position_before_the_token_and_image_states_are_the_image_positions(built):
    model, processor = built
    text = processor.text_inputs([QUESTION], [ANSWER])
    length = text["input_ids"].shape[1]
    states = torch.arange(length, dtype=torch.float32)[None, :, None].expand(1, length, 160)
    seg, image = model.seg_and_image_states(states, text["input_ids"], torch.tensor([[12, 12]]))
    ids = text["input_ids"][0].tolist()
    where = ids.index(processor.seg_token_id)
    torch.testing.assert_close(seg[0], model.projection(states[0, where - 1]))
    positions = [i for i, t in enumerate(ids) if t == processor.image_token_id]
    assert len(positions) == 12 * 12
    torch.testing.assert_close(image[0], model.projection(states[0, positions]))


def test_a_batch_answers_as_its_images_do_alone(built):
    model, processor = built
    data = batch(processor)
    with torch.no_grad():
        together = model(**data).mask_logits
        for row in range(len(SIZES)):
            alone = model(**{k: v[row : row + 1] for k, v in data.items()}).mask_logits
            torch.testing.assert_close(alone[0], together[row], atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_every_part_learns_and_similarity_gets_a_gradient_through_the_binary_mask(tokenizer):
    model, processor = build("tiny", tokenizer, settings(Region), plain_loss(region=0, iou=1), seed=0)
    data = batch(processor, [(64, 64), (64, 80)])
    # The language model's layers start by adding nothing, so that a first step has to open them.
    model(**data).loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    model.zero_grad()
    model(**data).loss.backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    # Unused by design: SAM's point and multi-mask heads, "no mask" embedding, CLIP's class output.
    allowed = (
        "point_embeddings",
        "not_a_point",
        "no_mask_embed",
        "hypernetworks_mlps.1",
        "hypernetworks_mlps.2",
        "hypernetworks_mlps.3",
        "post_layernorm",
        "iou_prediction_head",
        "k_proj.bias",
        "attn.qkv.bias",
    )
    assert not [n for n in without if not any(a in n for a in allowed)]


def test_the_language_model_starts_as_the_identity(tokenizer):
    model, processor = build("tiny", tokenizer, settings(Region), plain_loss(), seed=0)
    language = model.lvlm.model.language_model
    ids = processor.text_inputs(["Where?"])["input_ids"]
    with torch.no_grad():
        expected = language.norm(language.embed_tokens(ids))
        assert torch.equal(language(input_ids=ids).last_hidden_state, expected)


def test_without_that_the_first_layer_drowns_the_words(tokenizer):
    config = build("tiny", tokenizer, settings(Region), plain_loss(), seed=0)[0].config
    torch.manual_seed(0)
    language = Sim4SegForConditionalGeneration(config).lvlm.model.language_model
    ids = torch.arange(len(tokenizer))[None]
    with torch.no_grad():
        before, after, *_ = language(input_ids=ids, output_hidden_states=True).hidden_states
    assert 10 < float((after - before).std() / before.std()) < 20


@pytest.mark.parametrize("name", ["align", "attend"])
def test_an_auxiliary_loss_is_there_when_asked_for(tokenizer, name):
    data = None
    for weight in (0.0, 2.0):
        model, processor = build("tiny", tokenizer, settings(Region), plain_loss(**{name: weight}), seed=0)
        data = data or batch(processor, [(64, 64), (64, 80)])
        output = model(**data)
        assert (name in output.parts) == bool(weight)
    rest = sum(model.config.loss[part] * value for part, value in output.parts.items() if part != name)
    torch.testing.assert_close(output.loss.detach(), rest + 2.0 * output.parts[name])
    where = {
        "align": model.lvlm.model.multi_modal_projector.linear_2,
        "attend": model.lvlm.model.language_model.layers[1].self_attn.k_proj,
    }
    assert torch.autograd.grad(output.loss, where[name].weight)[0].abs().sum() > 0


def test_attention_is_learnt_with_plain_kernels_and_loaded_with_fused_ones(tokenizer, tmp_path):
    model, processor = build("tiny", tokenizer, settings(Region), plain_loss(attend=1.0), seed=0)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = load(tmp_path)
    implementations = [m.lvlm.model.language_model.config._attn_implementation for m in (model, again)]
    assert implementations == ["eager", "sdpa"]
    data = batch(processor, [(64, 80)])
    with torch.no_grad():
        both = [m.eval()(**data).mask_logits for m in (model, again)]
    torch.testing.assert_close(*both, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_off_switch_uses_no_mask_embedding_and_changes_the_masks(tokenizer):
    on, processor = build("tiny", tokenizer, settings(Region), plain_loss(), seed=0)
    data = batch(processor, [(64, 64)])
    with torch.no_grad():
        first = on.eval()(**data).mask_logits
        on.config.region["enabled"] = False
        assert not torch.equal(on(**data).mask_logits, first)


def test_save_and_load_are_exact(built, tmp_path):
    model, processor = built
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, processor2 = load(tmp_path)
    data = batch(processor, [(64, 64)])
    with torch.no_grad():
        assert torch.equal(model(**data).mask_logits, again(**batch(processor2, [(64, 64)])).mask_logits)


def test_saved_keys_are_the_names_that_a_resuming_trainer_loads(built, tmp_path):
    from safetensors import safe_open

    model, _ = built
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        saved = set(file.keys())
    left_out = set(model.state_dict()) - saved
    assert saved <= set(model.state_dict())
    assert left_out == {"lvlm.lm_head.weight"}  # tied to the embeddings, which are there


def test_tts_gives_m_by_n_candidates_of_which_the_first_is_the_single_answer(built):
    model, processor = built
    rng = np.random.default_rng(4)
    args = (model, processor, images(rng, [(40, 40), (30, 60)]), [QUESTION] * 2)
    asked = {"temperature": 0.7, "max_new_tokens": 5, "seeds": [1, 2]}
    many = answer_batch(*args, paths=2, perturbations=3, **asked)
    again = answer_batch(*args, paths=2, perturbations=3, **asked)
    single = answer_batch(*args, **asked)
    for row, row2, one in zip(many, again, single, strict=True):
        assert [(c.path, c.perturbation) for c in row] == [(m, n) for m in range(2) for n in range(3)]
        assert row[0].text == one[0].text
        assert np.array_equal(row[0].mask, one[0].mask)
        assert all(np.array_equal(a.probability, b.probability) for a, b in zip(row, row2, strict=True))
        assert 0 <= choose(row) < 6


def test_lora_trains_what_the_paper_trains_and_merges_without_a_trace(tokenizer):
    model, processor = build("tiny", tokenizer, settings(Region), plain_loss(), seed=0)
    data = batch(processor, [(64, 64)])
    names = set(model.state_dict())
    add_lora(model)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert any("q_proj.lora_A" in n for n in trained)
    assert not any("vision_tower" in n or "image_encoder" in n or "prompt_encoder" in n for n in trained)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
        before = model.eval()(**data).mask_logits
        fold_adapters_in(model)
        torch.testing.assert_close(model(**data).mask_logits, before, atol=1e-4, rtol=1e-4)
    assert set(model.state_dict()) == names


def test_an_input_that_the_model_does_not_take_is_named(built):
    model, processor = built
    data = batch(processor, [(64, 64)])
    with pytest.raises(TypeError, match="mask_label'"):
        model(**data, mask_label=data["mask_labels"])
    del data["sam_pixel_values"]
    with pytest.raises(ModelError, match="without sam_pixel_values and without sam_embeddings"):
        model(**data)


def test_errors_say_what_to_do(built, tokenizer, tmp_path):
    model, processor = built
    data = batch(processor, [(64, 64)])
    data["input_ids"][data["input_ids"] == processor.seg_token_id] = 5
    with pytest.raises(ModelError, match=r"rows without \[SEG\]: \[0\]"):
        model(**data)
    with pytest.raises(ModelError, match="question is empty"):
        processor.prompt("  ")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="unknown preset"):
        build("huge", tokenizer, settings(Region), plain_loss(), 0)


def test_control_tokens_in_a_question_are_not_obeyed(built):
    _, processor = built
    ids = processor.text_inputs(["<image> [SEG] where?"])["input_ids"][0].tolist()
    assert ids.count(processor.image_token_id) == 12 * 12
    assert processor.seg_token_id not in ids
