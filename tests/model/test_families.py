"""The seam for LVLM families: where tokens lie in the image, small instances that really learn, and what is refused."""

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, LlavaConfig, LlavaNextConfig, PixtralVisionConfig

from sim4seg.config.train import Region
from sim4seg.errors import ModelError
from sim4seg.inference.tts import answer_batch
from sim4seg.model import load, rvls2m
from sim4seg.model.families import family_named, family_of
from sim4seg.model.frames import Frames, as_tensor
from sim4seg.model.presets import build
from sim4seg.model.processing import Sim4SegProcessor
from sim4seg.training.lora import add_lora
from tests.model.conftest import ANSWER, QUESTION
from tests.settings import plain_loss, settings

PAPER = {"region": 0.0, "iou": 0.0, "align": 0.0, "attend": 0.0, "conclusion": 1.0}
SMALL = ["paper-small", "llava-1.5-small", "medsam-small", "qwen2.5-vl-small"]
FRAMES = {
    "corner": Frames(sam_size=64, vision_size=224, vision_patch=14),
    "centre": Frames(sam_size=64, vision_size=224, vision_patch=14, vision_fit="centre"),
    "crop": Frames(sam_size=64, vision_size=224, vision_patch=14, vision_fit="crop"),
    "any": Frames(
        sam_size=64, vision_patch=28, vision_fit="any", vision_pixels=(64 * 784, 256 * 784), family="qwen2_5_vl"
    ),
}


def brightness(seen, frames):
    """Mean of the pixels under each token, (1, T), read from what the LVLM gets."""
    rows, columns = seen.grid
    if frames.vision_fit == "any":
        return seen.pixels.mean(1).view(1, rows * columns, 4).mean(2)
    side = frames.vision_patch
    return seen.pixels.mean(0).view(rows, side, columns, side).mean((1, 3)).view(1, -1)


@pytest.mark.parametrize("fit", FRAMES)
@pytest.mark.parametrize("size", [(240, 240), (120, 360), (500, 90)])
def test_a_bright_spot_is_found_in_its_cell_of_the_image(fit, size):
    """Resize, crop, padding and tiling undone: the brightest cell is the one that holds the spot."""
    frames, cells = FRAMES[fit], 8
    height, width = size
    kept = min(size)
    for down, across in ((0.5, 0.5), (0.3, 0.7)):
        # A crop shows the middle only; the spot lies inside what every frame shows.
        y = int((height - kept) / 2 + down * kept)
        x = int((width - kept) / 2 + across * kept)
        image = np.full(size, 116, np.uint8)  # normalised about 0, as padding is
        radius = kept // 12
        image[y - radius : y + radius, x - radius : x + radius] = 255
        seen = family_named(frames.family).see(as_tensor(image), frames)
        found = rvls2m.region_matrices(brightness(seen, frames), [seen.grid], torch.tensor([seen.affine]), cells)[
            0
        ].numpy()
        rows, columns = (np.arange(cells) + 0.5) / cells * height, (np.arange(cells) + 0.5) / cells * width
        weight = (found - found.min()) ** 3
        centre = (weight.sum(1) @ rows / weight.sum(), weight.sum(0) @ columns / weight.sum())
        assert abs(centre[0] - y) <= height / cells
        assert abs(centre[1] - x) <= width / cells
        assert np.unravel_index(found.argmax(), found.shape) in [
            (int((y + a) / height * cells), int((x + b) / width * cells)) for a in (-radius, 0, radius - 1)
            for b in (-radius, 0, radius - 1)
        ]  # fmt: skip


def test_a_crop_is_what_clips_own_processor_makes():
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (6, 9, 3)), np.ones((50, 50, 1))).astype(np.uint8)
    theirs = CLIPImageProcessor()(image, return_tensors="pt")["pixel_values"][0]
    frames = Frames(sam_size=64, vision_size=224, vision_patch=14, vision_fit="crop", vision_resample="bicubic")
    mine = family_named("llava").see(as_tensor(image), frames).pixels
    # Theirs is cut after it is resized, ours before: the outermost pixels know less of their neighbours.
    assert (mine - theirs).abs()[:, 4:-4, 4:-4].mean() < 0.01
    assert (mine - theirs).abs()[:, 4:-4, 4:-4].max() < 0.35


def test_grids_that_differ_are_resampled_each_as_if_alone():
    torch.manual_seed(0)
    grids, affine = [(3, 5), (4, 4), (1, 12)], torch.tensor([[1.0, 0, 0.8, 0], [0.7, 0.1, 1, 0], [1, 0, 1, 0]])
    scores = torch.randn(3, 16)
    together = rvls2m.region_matrices(scores, grids, affine, 8)
    for row, (height, width) in enumerate(grids):
        alone = scores[row, : height * width].view(1, height, width)
        assert torch.equal(together[row : row + 1], rvls2m.to_region_matrix(alone, affine[row : row + 1], 8))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_small_instance_learns_and_only_its_trainable_set_moves(tokenizer, name):
    model, processor = build(name, tokenizer, settings(Region), plain_loss(**PAPER), seed=0)
    add_lora(model)
    rng = np.random.default_rng(1)
    sizes = [(70, 50), (40, 90)]
    visual = processor.image_inputs([rng.integers(0, 255, (*s, 3), dtype=np.uint8) for s in sizes])
    masks = [np.zeros(s, bool) for s in sizes]
    masks[0][10:30, 10:30] = masks[1][5:20, 40:80] = True
    batch = {
        **visual,
        **processor.text_inputs([QUESTION] * 2, [ANSWER] * 2, visual["vision_grid"]),
        "mask_labels": processor.mask_labels(masks),
    }
    before = {key: value.clone() for key, value in model.named_parameters()}
    trained = {key for key, value in before.items() if model.get_parameter(key).requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        output = model(**batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert moved <= trained
    for part in ("lora_B", "embed_tokens", "lm_head", "projection", "segmenter.mask_decoder"):
        assert any(part in key for key in moved), part
    assert not any(part in key for key in trained for part in ("image_encoder", "prompt_encoder", "visual", "vision"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_extreme_images_get_answers_saved_and_loaded(tokenizer, tmp_path, name):
    """1 x 1 and 20,000 x 50: through processor, forward and generation; loaded again, the same masks."""
    model, processor = build(name, tokenizer, settings(Region), plain_loss(**PAPER), seed=0)
    sizes = [(1, 1), (20_000, 50), (50, 20_000), (64, 64)]
    images = [np.full(size, 90, np.uint8) for size in sizes]
    visual = processor.image_inputs(images)
    text = processor.text_inputs([QUESTION] * 4, [ANSWER] * 4, visual["vision_grid"])
    with torch.no_grad():
        together = model.eval()(**visual, **text)
    assert bool(together.mask_logits.isfinite().all())
    for row in (0, 3):
        alone = {key: value[row : row + 1] for key, value in {**visual, **text}.items()}
        with torch.no_grad():
            torch.testing.assert_close(model(**alone).mask_logits[0], together.mask_logits[row], atol=1e-3, rtol=1e-3)
    small = [images[0], images[3]]
    asked = {"paths": 2, "temperature": 0.7, "max_new_tokens": 3, "seeds": [1, 2]}
    first = answer_batch(model, processor, small, [QUESTION] * 2, **asked)
    assert [row[0].mask.shape for row in first] == [(1, 1), (64, 64)]
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    second = answer_batch(*load(tmp_path), small, [QUESTION] * 2, **asked)
    for one, other in zip([c for row in first for c in row], [c for row in second for c in row], strict=True):
        assert one.text == other.text
        np.testing.assert_allclose(one.probability, other.probability, atol=1e-5)


def test_a_batch_without_seg_or_with_two_images_is_refused(tokenizer):
    model, processor = build("qwen2.5-vl-small", tokenizer, settings(Region), plain_loss(**PAPER), seed=0)
    visual = processor.image_inputs([np.zeros((60, 60), np.uint8)])
    with pytest.raises(ModelError, match=r"rows without \[SEG\]: \[0\]"):
        model(**visual, **processor.text_inputs([QUESTION], ["No lesion: healthy"], visual["vision_grid"]))
    text = processor.text_inputs([QUESTION], [ANSWER], visual["vision_grid"])
    states = torch.zeros(1, 2 * text["input_ids"].shape[1], 64)
    with pytest.raises(ModelError, match="one image in every row"):
        model.image_states(states, text["input_ids"].repeat(1, 2), visual["vision_grid"])
    for images in (np.zeros((2, 40, 40, 3), np.uint8), np.zeros((0, 5), np.uint8), np.zeros((4, 4), np.float32)):
        with pytest.raises(ModelError, match="one image a question"):
            processor.image_inputs([images])
    with pytest.raises(ModelError, match="depends on the image"):
        processor.text_inputs([QUESTION])


def test_an_lvlm_without_a_known_grid_is_refused_and_the_known_are_named():
    with pytest.raises(ModelError, match="'llava_next'; known: llava, qwen2_5_vl"):
        family_of(LlavaNextConfig())
    pixtral = LlavaConfig(vision_config=PixtralVisionConfig())
    with pytest.raises(ModelError, match="'pixtral' vision tower is not known"):
        family_of(pixtral)


def test_a_tokenizer_that_splits_seg_is_refused(tokenizer, tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    letters = {word: i for i, word in enumerate(["[UNK]", "[", "SEG", "]", "<image>"])}
    split = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(letters, [], unk_token="[UNK]")), unk_token="[UNK]"
    )
    with pytest.raises(ModelError, match=r"splits \[SEG\] into"):
        Sim4SegProcessor(split, FRAMES["corner"])
    with pytest.raises(ModelError, match=r"splits <\|image_pad\|> into"):
        Sim4SegProcessor(tokenizer, Frames(sam_size=64, vision_size=56, vision_patch=14, image_token="<|image_pad|>"))


def test_the_auxiliary_losses_ask_for_what_they_need(tokenizer):
    model, processor = build("qwen2.5-vl-small", tokenizer, settings(Region), plain_loss(align=1.0), seed=0)
    for sizes, message in (([(60, 60)] * 2, "needs image features"), ([(60, 60), (30, 90)], "same token grid")):
        visual = processor.image_inputs([np.zeros(s, np.uint8) for s in sizes])
        text = processor.text_inputs([QUESTION] * 2, [ANSWER] * 2, visual["vision_grid"])
        masks = processor.mask_labels([np.zeros(s, bool) for s in sizes])
        with pytest.raises(ModelError, match=message):
            model(**visual, **text, mask_labels=masks)
