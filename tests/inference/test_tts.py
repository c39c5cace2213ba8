"""Test-time scaling: the same masks as scoring gives, the noise on regions, and the choice without a label."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.errors import ModelError
from sim4seg.inference import decoding
from sim4seg.inference.tts import NOISE, Candidate, answer_batch, choose, plain_text, region_noise, shuffled_cells
from tests.inference.lively import pictures, prefer

QUESTIONS = ["Where is the lesion?", "Where?", "What is it?"]


LENGTH, SEEDS, TEMPERATURE = 6, [1, 2], 2.0


@pytest.mark.parametrize("enabled", [True, False])
def test_answers_have_the_masks_that_scoring_gives_for_their_text(lively, enabled):
    """Every path of a batch, its regions unperturbed, against one ``forward`` over the finished texts.

    Without RVLS2M there is no region mask to perturb: variants that are asked for are not made.
    """
    model, processor = lively
    prefer(model, processor, end=6.0, seg=8.0)
    images, questions = pictures()[:2], QUESTIONS[:2]
    model.config.region["enabled"] = enabled
    try:
        asked = {"paths": 2, "perturbations": 1 if enabled else 3, "temperature": TEMPERATURE}
        answers = answer_batch(model, processor, images, questions, **asked, max_new_tokens=LENGTH, seeds=SEEDS)
        output = scored(model, processor, images, questions)
    finally:
        model.config.region["enabled"] = True
    for row, answer in enumerate([path for paths in answers for path in paths]):
        probability = processor.probabilities(output.mask_logits[row], answer.mask.shape)
        np.testing.assert_allclose(answer.probability, probability, atol=1e-4)
        assert np.array_equal(answer.mask, answer.probability > 0.5)
        np.testing.assert_allclose(answer.similarity, output.regions[row], atol=1e-4)
        assert answer.predicted_iou == pytest.approx(float(output.predicted_iou[row]), abs=1e-4)
    assert len({path.similarity.tobytes() for paths in answers for path in paths}) == 4


@torch.inference_mode()
def scored(model, processor, images, questions):
    """``forward`` on the texts that ``answer_batch`` writes, up to their first [SEG]: two paths an image."""
    visual, prompt = processor.image_inputs(images), processor.text_inputs(questions)
    token_ids = decoding.TokenIds(processor.tokenizer.eos_token_id, processor.seg_token_id, processor.image_token_id)
    draws, temperatures = decoding.uniform_draws(SEEDS, 2, LENGTH), torch.tensor([0.0, TEMPERATURE])
    reading = {**prompt, "pixel_values": visual["pixel_values"]}
    writing = decoding.write_paths(model.lvlm, reading, token_ids, draws, temperatures)
    texts = processor.text_until_seg(
        [question for question in questions for _ in range(2)], [path.ids for paths in writing.paths for path in paths]
    )
    return model(**texts, **{name: value.repeat_interleave(2, 0) for name, value in visual.items()})


def test_noise_on_regions_is_gumbels_and_each_paths_own():
    regions = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0))  # two images, two paths
    found = region_noise([5, 6], 2, 3)(regions)
    assert found.shape == (12, 3, 3)
    for row in range(4):
        assert torch.equal(found[3 * row], regions[row])
        generator = decoding.region_generator([5, 6][row // 2], row % 2)
        for variant in (1, 2):
            uniform = torch.rand(3, 3, generator=generator).double().numpy()
            expected = regions[row].numpy() - NOISE * np.log(-np.log(uniform))
            np.testing.assert_allclose(found[3 * row + variant], expected, atol=1e-5)
    assert len({variant.numpy().tobytes() for variant in found}) == 12


def test_perturbed_answers_start_from_the_plain_one_and_show_similarities_in_the_unit_range(lively):
    model, processor = lively
    prefer(model, processor, end=50.0)
    asked = {"temperature": TEMPERATURE, "max_new_tokens": 1, "seeds": [3]}
    plain = answer_batch(model, processor, pictures()[:1], QUESTIONS[:1], **asked)[0]
    answers = answer_batch(model, processor, pictures()[:1], QUESTIONS[:1], perturbations=3, **asked)[0]
    assert [(answer.path, answer.perturbation) for answer in answers] == [(0, 0), (0, 1), (0, 2)]
    np.testing.assert_allclose(answers[0].similarity, plain[0].similarity, atol=1e-5)
    for answer in answers[1:]:
        assert answer.similarity.min() >= 0 and answer.similarity.max() == 1  # the noise is mostly upwards
        noise = answer.similarity - plain[0].similarity
        assert 0.02 < noise[answer.similarity < 1].mean() < 0.1


def test_path_0_is_greedy_whatever_temperature_and_seed_are_and_the_others_are_not(lively):
    model, processor = lively
    prefer(model, processor, end=-50.0)
    images, questions = pictures()[:2], QUESTIONS[:2]

    def texts(temperature, seeds):
        asked = {"paths": 3, "temperature": temperature, "max_new_tokens": 12, "seeds": seeds}
        answers = answer_batch(model, processor, images, questions, **asked)
        return [[answer.text for answer in paths] for paths in answers]

    first, second = texts(1.0, [1, 2]), texts(3.0, [8, 9])
    for one, other in zip(first, second, strict=True):
        assert len(one) == len(other) == 3
        assert one[0] == other[0]
        assert one[1:] != other[1:] and one[0] not in one[1:]


def test_one_answer_unless_more_are_asked_for_and_of_the_size_of_a_colour_picture(lively):
    model, processor = lively
    prefer(model, processor, end=50.0)
    image = np.random.default_rng(1).integers(0, 255, (40, 70, 3), dtype=np.uint8)
    asked = {"temperature": TEMPERATURE, "max_new_tokens": 1, "seeds": [3]}
    (answers,) = answer_batch(model, processor, [image], QUESTIONS[:1], **asked)
    assert [(answer.path, answer.perturbation, answer.mask.shape) for answer in answers] == [(0, 0, (40, 70))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questions": QUESTIONS[:1]}, "2 images, 1 questions and 2 seeds"),
        ({"seeds": [1]}, "2 images, 2 questions and 1 seeds"),
        ({"images": [], "questions": QUESTIONS[:1], "seeds": [1, 2, 3]}, "0 images, 1 questions and 3 seeds"),
        ({"images": [], "questions": [], "seeds": []}, "0 images"),
        ({"paths": 0}, "0 paths"),
        ({"perturbations": 0}, "0 perturbations"),
        ({"max_new_tokens": 0}, "0 new tokens"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_computed(lively, change, message):
    model, processor = lively
    asked = {"images": pictures()[:2], "questions": QUESTIONS[:2], "seeds": [1, 2], "paths": 1, "perturbations": 1}
    asked |= {"max_new_tokens": 1, **change}
    with pytest.raises(ModelError, match=message):
        answer_batch(model, processor, asked.pop("images"), asked.pop("questions"), temperature=1.0, **asked)


def test_the_image_placeholder_is_never_written(lively):
    model, processor = lively
    prefer(model, processor, end=-50.0)
    model.lvlm.lm_head.bias.data[processor.image_token_id] = 90.0
    prompt, visual = processor.text_inputs(QUESTIONS[:1]), processor.image_inputs(pictures()[:1])
    token_ids = decoding.TokenIds(processor.tokenizer.eos_token_id, processor.seg_token_id, processor.image_token_id)
    reading = {**prompt, "pixel_values": visual["pixel_values"]}
    with torch.inference_mode():
        draws = decoding.uniform_draws([1], 2, 3)
        writing = decoding.write_paths(model.lvlm, reading, token_ids, draws, torch.tensor([0.0, 1.0]))
    for path in writing.paths[0]:
        assert len(path.ids) == 3 and processor.image_token_id not in path.ids
        assert path.log_probability < -50  # under the model as it is, which would have written the placeholder


def test_the_text_has_no_control_tokens_but_seg(built):
    _, processor = built
    tokenizer = processor.tokenizer
    ids = [tokenizer.pad_token_id, processor.image_token_id, *tokenizer(" Sure, it is [SEG].")["input_ids"]]
    assert plain_text(processor, ids) == "Sure, it is [SEG]."


def test_one_variant_is_no_noise():
    assert region_noise([1], 1, 1) is None


def candidate(pixels, log_probability=-1.0):
    mask = np.zeros((2, 4), bool)
    mask.flat[list(pixels)] = True
    return Candidate("", mask, mask.astype(np.float32), np.zeros((1, 1), np.float32), log_probability, 0.5, 0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([candidate({0})], 0),
        # The two that agree, though the third is likelier: 0.5 + e^-2 > 0 + e^-1.
        ([candidate({7}, -1.0), candidate({0, 1}, -2.0), candidate({0, 1}, -2.0)], 1),
        # The same where the third is 0.53 likely: a mask's overlap with itself does not count.
        ([candidate({7}, -0.625), candidate({0, 1}, -2.0), candidate({0, 1}, -2.0)], 1),
        # Masks alike: the likeliest text.
        ([candidate({0}, -3.0), candidate({0}, -0.1), candidate({0}, -2.0)], 1),
        # All alike: the earliest.
        ([candidate({0}), candidate({0}), candidate({0})], 0),
        # Mean IoU 1/4, 1/2 and 1/4: the one that overlaps with both others.
        ([candidate({0}), candidate({0, 1}), candidate({1})], 1),
        # Nothing found is what two of three say.
        ([candidate({0}), candidate(set()), candidate(set())], 1),
    ],
)
def test_the_choice_is_what_most_agree_on(candidates, chosen):
    assert choose(candidates) == chosen


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 7), max_size=4), st.sampled_from([-0.2, -1.0, -4.0])), min_size=2, max_size=5
    )
)
def test_no_candidate_scores_better_than_the_chosen(drawn):
    """Mean overlap with the others as sets of pixels, and the text's mean probability."""

    def score(at):
        mine, log_probability = drawn[at]
        others = [pixels for index, (pixels, _) in enumerate(drawn) if index != at]
        agreement = [len(mine & other) / len(mine | other) if mine | other else 1.0 for other in others]
        return sum(agreement) / len(others) + 2.718281828459045**log_probability

    chosen = choose([candidate(pixels, value) for pixels, value in drawn])
    assert score(chosen) >= max(map(score, range(len(drawn)))) - 1e-9


def test_shuffled_cells_are_the_same_cells_elsewhere(lively):
    regions = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0))  # two images, two paths
    found = shuffled_cells([5, 6], 2)(regions)
    assert found.shape == regions.shape and not torch.equal(found, regions)
    assert torch.equal(found.flatten(1).sort(1).values, regions.flatten(1).sort(1).values)
    orders = [found[row].flatten().argsort()[regions[row].flatten().argsort().argsort()] for row in range(4)]
    assert len({tuple(order.tolist()) for order in orders}) == 4, "each answer has an order of its own"
    assert torch.equal(shuffled_cells([6], 2)(regions[2:]), found[2:]), "whatever else is in the batch"
    model, processor = lively
    prefer(model, processor, end=50.0)
    asked = {"temperature": TEMPERATURE, "max_new_tokens": 1, "seeds": [3]}
    plain, shuffled = (
        answer_batch(model, processor, pictures()[:1], QUESTIONS[:1], **asked, shuffled=how)[0] for how in (False, True)
    )
    assert len(shuffled) == 1 and shuffled[0].text == plain[0].text
    one, other = plain[0].similarity.ravel(), shuffled[0].similarity.ravel()
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(np.sort(one), np.sort(other), atol=1e-6)
    assert not np.allclose(plain[0].probability, shuffled[0].probability, atol=1e-6), "the prompt is another"
