"""Decoding against slower ways to the same answers: transformers' generate, and whole passes without a cache."""

import hashlib

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from sim4seg.errors import ModelError
from sim4seg.inference import decoding
from sim4seg.inference.tts import answer_batch
from tests.inference.lively import pictures, prefer

QUESTIONS = ["Where is the lesion in this image, and what is the diagnosis?", "Where?", "What is it?"]
LENGTH = 12


def write(model, processor, temperatures, seeds=(1, 2, 3), length=LENGTH):
    inputs = {**processor.text_inputs(QUESTIONS), "pixel_values": processor.image_inputs(pictures())["pixel_values"]}
    vocabulary = decoding.TokenIds(processor.tokenizer.eos_token_id, processor.seg_token_id, processor.image_token_id)
    draws = decoding.uniform_draws(list(seeds), len(temperatures), length)
    with torch.inference_mode():
        return inputs, decoding.write_paths(model.lvlm, inputs, vocabulary, draws, torch.tensor(temperatures))


def by_generate(lvlm, inputs, end, pad, image):
    """Greedy answers of transformers, each up to its first end token."""
    with torch.inference_mode():
        output = lvlm.generate(
            **inputs,
            max_new_tokens=LENGTH,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=pad,
            suppress_tokens=[image],
        )
    rows = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("end", [-50.0, 4.5])
def test_greedy_answers_are_those_of_generate(lively, end):
    model, processor = lively
    prefer(model, processor, end=end)
    inputs, writing = write(model, processor, [0.0])
    assert len(set(inputs["attention_mask"].sum(1).tolist())) == 3  # padded on the left by different lengths
    tokenizer = processor.tokenizer
    expected = by_generate(model.lvlm, inputs, tokenizer.eos_token_id, tokenizer.pad_token_id, processor.image_token_id)
    assert [paths[0].ids for paths in writing.paths] == expected
    if end > 0:
        assert len({len(ids) for ids in expected}) > 1  # rows that end early and rows that go on


def without_cache(model, processor, row, temperature, draws):
    """One answer, a whole forward pass a token, one image at a time."""
    visual = processor.image_inputs([pictures()[row]])
    prompt, ids = processor.text_inputs([QUESTIONS[row]])["input_ids"][0].tolist(), []
    for draw in draws.tolist():
        tokens = torch.tensor([prompt + ids])
        logits = model.lvlm.lm_head(model.states(tokens, torch.ones_like(tokens), visual)[0, -1]).double().numpy()
        logits[processor.image_token_id] = -np.inf
        if temperature == 0:
            token = int(logits.argmax())
        else:
            weights = np.exp((logits - logits.max()) / temperature)
            token = int(np.argmax(np.cumsum(weights) / weights.sum() > draw))
        if token == processor.tokenizer.eos_token_id:
            break
        ids.append(token)
    return ids


CASES = {  # name: bias of the end token and of [SEG], and what the answers must then be like
    "no [SEG], ended": (8.0, -50.0, lambda ids, seg: seg not in ids and 0 < len(ids) < LENGTH),
    "no [SEG], cut off": (-50.0, -50.0, lambda ids, seg: seg not in ids and len(ids) == LENGTH),
    "[SEG] several times": (-50.0, 9.0, lambda ids, seg: ids.count(seg) > 1 and ids[0] != seg),
    "[SEG] first": (4.0, 50.0, lambda ids, seg: ids[:1] == [seg]),
    "nothing": (50.0, 0.0, lambda ids, seg: ids == []),
}


@pytest.mark.parametrize("name", CASES)
def test_answers_and_states_are_those_of_whole_passes_over_the_text(lively, name):
    """The state before [SEG], and that of the image tokens, against a second pass over prompt and answer."""
    model, processor = lively
    end, seg_bias, expected = CASES[name]
    prefer(model, processor, end, seg_bias)
    temperatures = [0.0, 2.0]
    inputs, writing = write(model, processor, temperatures)
    draws = decoding.uniform_draws([1, 2, 3], 2, LENGTH)
    found = [path.ids for paths in writing.paths for path in paths]
    assert any(expected(ids, processor.seg_token_id) for ids in found), found
    with torch.inference_mode():
        slow = [
            without_cache(model, processor, row, temperature, draws[2 * row + path])
            for row in range(3)
            for path, temperature in enumerate(temperatures)
        ]
        assert found == slow
        text = processor.text_until_seg([q for q in QUESTIONS for _ in range(2)], slow)
        visual = {k: v.repeat_interleave(2, 0) for k, v in processor.image_inputs(pictures()).items()}
        states = model.states(text["input_ids"], text["attention_mask"], visual)
        seg, image = model.seg_and_image_states(states, text["input_ids"], visual["vision_grid"])
        torch.testing.assert_close(model.projection(writing.seg_states), seg, atol=1e-5, rtol=1e-4)
        is_image = inputs["input_ids"] == processor.image_token_id
        mine = model.projection(writing.prompt_states[is_image]).view(3, -1, seg.shape[-1]).repeat_interleave(2, 0)
        torch.testing.assert_close(mine, image, atol=1e-5, rtol=1e-4)


def test_log_probability_is_the_mean_over_the_tokens_and_the_end_token(lively):
    model, processor = lively
    prefer(model, processor, end=6.0)
    inputs, writing = write(model, processor, [0.0, 1.5])
    tokenizer = processor.tokenizer
    assert {path.complete for paths in writing.paths for path in paths} == {True, False}
    for row, paths in enumerate(writing.paths):
        prompt = inputs["input_ids"][row][inputs["attention_mask"][row] > 0].tolist()
        for path in paths:
            written = path.ids + [tokenizer.eos_token_id] * path.complete
            ids = torch.tensor([prompt + written])
            with torch.inference_mode():
                states = model.states(ids, torch.ones_like(ids), processor.image_inputs([pictures()[row]]))
                logits = model.lvlm.lm_head(states[0, len(prompt) - 1 : -1]).double().log_softmax(-1)
            expected = sum(float(logits[i, token]) for i, token in enumerate(written)) / len(written)
            assert path.log_probability == pytest.approx(expected, abs=1e-4)


def test_each_part_reads_no_more_than_it_must(lively):
    model, processor = lively
    prefer(model, processor, end=6.0)
    seen: dict[str, list[int]] = {"vision": [], "language": [], "sam": [], "decoder": []}
    parts = {
        "vision": model.lvlm.model.vision_tower,
        "language": model.lvlm.lm_head,
        "sam": model.segmenter.image_encoder,
        "decoder": model.segmenter.mask_decoder.transformer,
    }

    def count(name):
        def hook(_, args, kwargs):
            seen[name].append(len((*args, *kwargs.values())[0]))

        return hook

    hooks = [part.register_forward_pre_hook(count(name), with_kwargs=True) for name, part in parts.items()]
    try:
        answers = answer_batch(
            model,
            processor,
            pictures(),
            QUESTIONS,
            paths=2,
            perturbations=3,
            temperature=0.7,
            max_new_tokens=LENGTH,
            seeds=[1, 2, 3],
        )
        _, writing = write(model, processor, [0.0, 0.7])
    finally:
        for hook in hooks:
            hook.remove()
    written = [path for paths in writing.paths for path in paths]
    assert [len(row) for row in answers] == [6, 6, 6]
    assert (seen["sam"], seen["decoder"]) == ([3], [18])
    assert seen["vision"] == [3, 3]  # once for each of the two calls above
    assert 0 not in seen["language"]  # nothing is computed for a batch whose answers have all ended
    assert sum(seen["language"]) == 2 * sum(len(path.ids) + path.complete for path in written)


def test_a_sample_depends_on_its_own_seed_and_not_on_its_company(lively):
    model, processor = lively
    prefer(model, processor, end=4.0)
    images, common = pictures(), {"temperature": 2.0, "max_new_tokens": LENGTH}
    together = answer_batch(model, processor, images, QUESTIONS, paths=3, perturbations=2, seeds=[4, 5, 6], **common)
    alone = answer_batch(model, processor, images[1:2], QUESTIONS[1:2], paths=2, perturbations=3, seeds=[5], **common)[
        0
    ]
    other = answer_batch(model, processor, images[1:2], QUESTIONS[1:2], paths=2, seeds=[7], **common)[0]
    assert together[1][2].text == alone[3].text != other[1].text
    assert other[0].text == alone[0].text  # greedy: whatever the seed
    for mine, theirs in ((0, 0), (1, 1), (2, 3), (3, 4)):
        np.testing.assert_allclose(together[1][mine].similarity, alone[theirs].similarity, atol=1e-4)
    assert not np.allclose(alone[0].similarity, alone[1].similarity, atol=1e-2)


def test_draws_are_those_of_the_images_seed_and_the_paths_number():
    """A seed is the first 15 hex digits of SHA-256 over the length and text of a JSON list."""
    draws = decoding.uniform_draws([3, 9], 2, 4)
    assert draws.shape == (4, 4) and draws.dtype == torch.float64
    for row, (seed, path) in enumerate([(3, 0), (3, 1), (9, 0), (9, 1)]):
        assert torch.equal(draws[row], torch.rand(4, generator=generator_of("text", seed, path), dtype=torch.float64))
    regions = decoding.region_generator(9, 1)
    assert torch.equal(torch.rand(4, generator=regions), torch.rand(4, generator=generator_of("region", 9, 1)))


def generator_of(purpose, seed, path):
    text = f'["{purpose}",{seed},{path}]'.encode()
    digest = hashlib.sha256(len(text).to_bytes(8, "big") + text).hexdigest()
    return torch.Generator().manual_seed(int(digest[:15], 16))


def test_samples_follow_the_softmax_and_never_the_impossible():
    logits = torch.tensor([[2.0, -torch.inf, 0.0, 1.0]])
    draws = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    tokens = decoding.pick_tokens(logits.expand(4000, -1), draws, torch.full((4000,), 0.5, dtype=torch.float64))
    weights = np.array([np.exp(4.0), 0, 1, np.exp(2.0)])
    np.testing.assert_allclose(np.bincount(tokens, minlength=4) / 4000, weights / weights.sum(), atol=1e-3)
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    impossible_ends = torch.tensor([[-torch.inf, 1.0, -torch.inf]]).expand(2, -1)
    assert decoding.pick_tokens(impossible_ends, edges, torch.ones(2).double()).tolist() == [1, 1]
    mixed = decoding.pick_tokens(logits.expand(2, -1), torch.tensor([0.999, 0.999]).double(), torch.tensor([0, 9.0]))
    assert mixed.tolist() == [0, 3]


@pytest.mark.parametrize("sizes", [[(1, 1)], [(1, 1), (20_000, 50), (50, 20_000), (64, 48)]])
def test_images_of_any_size_and_answers_that_are_empty_or_never_end(lively, sizes):
    model, processor = lively
    for end, text in ((50.0, ""), (-50.0, None)):
        prefer(model, processor, end=end)
        answers = answer_batch(
            model,
            processor,
            pictures(sizes),
            ["Where?"] * len(sizes),
            paths=2,
            perturbations=2,
            temperature=0.7,
            max_new_tokens=3,
            seeds=[0] * len(sizes),
        )
        for size, row in zip(sizes, answers, strict=True):
            assert [one.mask.shape for one in row] == [size] * 4
            assert all(np.isfinite(one.probability).all() and np.isfinite(one.log_probability) for one in row)
            assert all((one.text == text) if text is not None else one.text for one in row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "0 images, 1 questions"),
        ({"seeds": [1, 2]}, "2 seeds"),
        ({"paths": 0}, "0 paths"),
        ({"perturbations": 0}, "0 perturbations"),
        ({"max_new_tokens": 0}, "0 new tokens"),
        ({"questions": ["  "]}, "question is empty"),
    ],
)
def test_what_cannot_be_answered_is_refused(lively, change, message):
    asked = {"images": pictures()[:1], "questions": ["Where?"], "seeds": [0], "temperature": 0.7, "max_new_tokens": 4}
    with pytest.raises(ModelError, match=message):
        answer_batch(*lively, **{**asked, **change})


def test_a_family_with_positions_of_several_axes_is_decoded_as_by_its_generate():
    """Qwen2.5-VL: time, height and width positions for image tokens, and text that counts on from their largest."""
    image, start, stop, pad, end = 60, 61, 62, 0, 1
    text = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        "initializer_range": 0.5,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 4,
        "window_size": 16,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=image,
        vision_start_token_id=start,
        vision_end_token_id=stop,
    )
    torch.manual_seed(2)
    lvlm = Qwen2_5_VLForConditionalGeneration(config).eval()
    grids = torch.tensor([[1, 4, 8], [1, 6, 4]])  # patches; four of them are one token
    endings = ([7, 8, 9], [5])
    rows = [
        [start] + [image] * int(grid.prod() // 4) + [stop] + ending for grid, ending in zip(grids, endings, strict=True)
    ]
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask = (ids != pad).long()
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "pixel_values": torch.randn(int(grids.prod(1).sum()), 3 * 2 * 4 * 4),
        "image_grid_thw": grids,
        "mm_token_type_ids": (ids == image).long(),
    }
    expected = by_generate(lvlm, inputs, end, pad, image)
    with torch.inference_mode():
        draws = decoding.uniform_draws([1, 2], 2, LENGTH)
        writing = decoding.write_paths(lvlm, inputs, decoding.TokenIds(end, 63, image), draws, torch.tensor([0.0, 1.0]))
    assert [paths[0].ids for paths in writing.paths] == expected
    assert len(set(expected[0])) > 2  # not a loop over one token, which positions would not change
