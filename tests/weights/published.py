"""A checkpoint with the names and element types of LISA-7B-v1, and reduced widths, written by independent code."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

QUESTION = "Where is the lesion?"
ANSWER = "Sure, it is [SEG]. Finally, the diagnosis is: benign"
HIDDEN, VISION, SIDE = 64, 32, 56


def sam() -> Sam:
    """Segment Anything as its own builder puts it together, at 128 pixels."""
    grid, dim = 8, 256
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=128, patch_size=16, embed_dim=48, depth=3, num_heads=4, mlp_ratio=4, qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=5,
            global_attn_indexes=[1], out_chans=dim,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=dim, image_embedding_size=(grid, grid), input_image_size=(128, 128), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=dim, mlp_dim=128, num_heads=8),
            transformer_dim=dim, iou_head_depth=3, iou_head_hidden_dim=256,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )  # fmt: skip


def write_tokenizer(folder: Path) -> int:
    """LLaVA's added tokens at the end, as LISA adds them; returns the number of ids."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([QUESTION, ANSWER], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )
    fast.add_tokens([AddedToken("[SEG]", normalized=False)])
    fast.add_tokens(["<im_start>", "<im_end>"], special_tokens=True)
    fast.save_pretrained(folder)
    return len(fast)


def published_tensors(vocabulary: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """All weights of the checkpoint, by their published names."""
    torch.manual_seed(11)
    llama = LlamaForCausalLM(LlamaConfig(**language(vocabulary)))
    tensors = dict(llama.state_dict())
    for name, tensor in nn.Linear(VISION, HIDDEN).state_dict().items():
        tensors[f"model.mm_projector.{name}"] = tensor * 4
    project = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 256), nn.Dropout(0.0))
    for name, tensor in project.state_dict().items():
        tensors[f"model.text_hidden_fcs.0.{name}"] = tensor
    for name, tensor in sam().state_dict().items():
        tensors[f"model.visual_model.{name}"] = tensor + 0.02 * torch.randn_like(tensor)
    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    return {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}


def language(vocabulary: int) -> dict[str, int | float]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
    }


def write_clip(folder: Path) -> CLIPVisionModel:
    """CLIP's folder, in float32 as it is published."""
    torch.manual_seed(12)
    config = CLIPVisionConfig(
        hidden_size=VISION, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=SIDE,
        patch_size=14,
    )  # fmt: skip
    model = CLIPVisionModel(config).eval()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": config.to_dict()}))
    names = {name.removeprefix("vision_model."): tensor for name, tensor in model.state_dict().items()}
    published = {f"vision_model.{name}": tensor.clone() for name, tensor in names.items()}
    published["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    published["logit_scale"] = torch.tensor(4.6)
    torch.save(published, folder / "pytorch_model.bin")
    return model


def write_shards(folder: Path, tensors: dict[str, Tensor], form: str, shards: int = 3) -> None:
    """As transformers wrote them: numbered files and an index."""
    stem, suffix = ("pytorch_model", "bin") if form == "bin" else ("model", "safetensors")
    names = list(tensors)
    files: dict[str, str] = {}
    for number in range(shards):
        part = names[number::shards]
        file = f"{stem}-{number + 1:05d}-of-{shards:05d}.{suffix}"
        files |= dict.fromkeys(part, file)
        held = {name: tensors[name] for name in part}
        if form == "bin":
            torch.save(held, folder / file)
        else:
            save_file(held, folder / file, metadata={"format": "pt"})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": files}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def write_published(folder: Path, form: str = "safetensors", dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """The checkpoint in ``folder/lisa`` and CLIP in ``folder/clip``."""
    lisa = folder / "lisa"
    lisa.mkdir(parents=True)
    vocabulary = write_tokenizer(lisa)
    tensors = published_tensors(vocabulary, dtype)
    write_shards(lisa, tensors, form)
    write_clip(folder / "clip")
    config = {
        "architectures": ["LISAForCausalLM"],
        "model_type": "llava",
        "mm_vision_tower": "openai/clip-vit-large-patch14",
        "mm_hidden_size": VISION,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": True,
        "out_dim": 256,
        "train_mask_decoder": True,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **language(vocabulary),
    }
    (lisa / "config.json").write_text(json.dumps(config))
    return tensors
