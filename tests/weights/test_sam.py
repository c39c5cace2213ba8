"""SAM's own files into the segmenter: by digest, by size, by name."""

from __future__ import annotations

import pytest
import torch
from segment_anything import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l

from sim4seg.digest import digest_directory, digest_file
from sim4seg.errors import ModelError
from sim4seg.model.configuration import SAM_DEFAULTS
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets import PRESETS, TokenVocabulary
from sim4seg.model.segmenter import Segmenter
from sim4seg.model.weights.sam import load_sam
from sim4seg.model.weights.sam_sizes import sam_sizes
from tests.weights.published import sam


def segmenter(**changes):
    own = sam().state_dict()
    torch.manual_seed(7)
    return Segmenter({**sam_sizes({n: tuple(t.shape) for n, t in own.items()}, "test"), **changes})


def model(preset, seed):
    torch.manual_seed(seed)
    return Sim4SegForConditionalGeneration(PRESETS[preset].configure(TokenVocabulary(64, 3, 4, 1, 2, 0))[0])


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(5)
    torch.save(sam().state_dict(), tmp_path / "sam_vit_b_01ec64.pth")
    return tmp_path / "sam_vit_b_01ec64.pth"


@pytest.mark.parametrize("build", [build_sam_vit_h, build_sam_vit_l, build_sam_vit_b])
def test_published_sizes_are_read_off_the_shapes(build):
    with torch.device("meta"):
        theirs = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
        sizes = sam_sizes(theirs, "test")
        ours = {name: tuple(tensor.shape) for name, tensor in Segmenter(sizes).state_dict().items()}
    assert ours == theirs
    if build is build_sam_vit_h:
        assert sizes == SAM_DEFAULTS


def test_encoder_and_decoder_equal_segment_anything_with_the_same_file(file):
    ours = segmenter()
    load_sam(ours, file, digest_file(file))
    reference = sam()
    reference.load_state_dict(torch.load(file, weights_only=True))
    pixels, points = torch.randn(1, 3, 128, 128), torch.randn(1, 256)
    with torch.no_grad():
        embeddings = reference.image_encoder(pixels)
        masks, _ = reference.mask_decoder(
            image_embeddings=embeddings,
            image_pe=reference.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=points[:, None],
            dense_prompt_embeddings=reference.prompt_encoder(None, None, None)[1],
            multimask_output=False,
        )
        assert torch.equal(ours.encode(pixels), embeddings)
        assert torch.equal(ours.positions(), reference.prompt_encoder.get_dense_pe())
        torch.testing.assert_close(ours.decode(embeddings, points, None)[0], masks[:, 0], atol=1e-5, rtol=1e-5)


def test_a_segmenter_in_bfloat16_keeps_its_type(file):
    ours = segmenter().to(torch.bfloat16)
    load_sam(ours, file, digest_file(file).upper())
    stored = torch.load(file, weights_only=True)["mask_decoder.iou_token.weight"]
    assert torch.equal(ours.mask_decoder.iou_token.weight, stored.bfloat16())


def test_the_sam_of_a_model_goes_into_another(tmp_path):
    """``smol`` may start from a trained ``tiny``: of the same build, stem included, the language model is another."""
    tiny, other = (model(name, seed) for name, seed in (("tiny", 1), ("smol-small", 2)))
    tiny.save_pretrained(tmp_path / "tiny", max_shard_size="1MB")
    assert (tmp_path / "tiny/model.safetensors.index.json").is_file(), "read from several files"
    words = other.projection[0].weight.clone()
    load_sam(other.segmenter, tmp_path / "tiny", digest_directory(tmp_path / "tiny"))
    theirs, mine = tiny.segmenter.state_dict(), other.segmenter.state_dict()
    assert theirs.keys() == mine.keys()
    assert all(torch.equal(theirs[name], mine[name]) for name in mine)
    assert torch.equal(other.projection[0].weight, words)
    for path, digest, message in (
        (tmp_path / "tiny", "0" * 64, r"have the digest .*, not 0000(.|\n)*train\.weights\.sam_sha256"),
        (tmp_path / "paper", None, r"\d+ weights do not fit: .*: stored"),
        (tmp_path / "bare", None, "no SAM in it"),
    ):
        model("paper-small", 3).save_pretrained(tmp_path / "paper")
        tiny.lvlm.save_pretrained(tmp_path / "bare")
        with pytest.raises(ModelError, match=message):
            load_sam(other.segmenter, path, digest)
    assert all(torch.equal(theirs[name], mine[name]) for name in mine), "the segmenter is as it was"


def test_refusals_leave_the_segmenter_alone(file, tmp_path):
    ours = segmenter()
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}

    def refused(message, path=file, sha256=None, target=ours):
        with pytest.raises(ModelError, match=message):
            load_sam(target, path, sha256 or digest_file(path))

    with pytest.raises(ModelError, match="expected ec2df62732614e57"):
        load_sam(ours, file)  # named as Meta's, and is not
    refused("expected 0000", sha256="0" * 64)
    own = f"no digest is known for a file named mine.pth; its SHA-256 is {digest_file(file)}"
    with pytest.raises(ModelError, match=own):
        load_sam(ours, file.rename(tmp_path / "mine.pth"))
    with pytest.raises(ModelError, match="no such file"):
        load_sam(ours, tmp_path / "no.pth")
    stored = sam().state_dict()
    for change, message in (
        (lambda s: s.pop("mask_decoder.iou_token.weight"), r"iou_token.weight: stored nothing, wanted \(1, 256\)"),
        (lambda s: s.update({"extra": torch.zeros(2)}), r"extra: stored \(2,\), wanted nothing"),
        (
            lambda s: s.update({"mask_decoder.iou_token.weight": torch.zeros(1, 9)}),
            r"stored \(1, 9\), wanted",
        ),
        (lambda s: s.pop("image_encoder.pos_embed"), "sizes cannot be read off"),
    ):
        changed = dict(stored)
        change(changed)
        torch.save(changed, tmp_path / "changed.pth")
        refused(message, tmp_path / "changed.pth")
    refused("a SAM of other sizes: embed_dim 48, wanted 96", tmp_path / "mine.pth", target=segmenter(embed_dim=96))
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())
