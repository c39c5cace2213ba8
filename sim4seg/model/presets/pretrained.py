"""A model from published weights that lie on this machine; nothing is ever fetched from here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerBase

from sim4seg.config.train import Train, Weights
from sim4seg.cot.contract import SEG_TOKEN
from sim4seg.digest import digest_directory, digest_file
from sim4seg.errors import ConfigError, ModelError
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.efficientnet_lite import EfficientNetLite
from sim4seg.model.families import family_of
from sim4seg.model.mobile_encoder import MobileEncoder
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets.preset import Preset, TokenVocabulary
from sim4seg.model.processing import Sim4SegProcessor
from sim4seg.model.tokenizer import check_tokenizer
from sim4seg.model.weights.pinned_folder import check_folder


def from_weights(params: Train, preset: Preset, seed: int) -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    """The model of a preset with the weights that ``train.weights`` names.

    The LVLM's folder may hold a whole Sim4Seg model (what ``sim4seg convert-lisa`` or a training run wrote); SAM's
    weights are then not needed, and replace that model's SAM if they are given.

    Raises:
        ConfigError: something that the preset needs is not given or not there; nothing is fetched.
        ModelError: a digest differs, or the weights are not of the preset's build.
    """
    weights = params.weights
    folder = local_folder(params.preset, preset, weights)
    whole = _model_type(folder) == Sim4SegConfig.model_type
    check_segmenter(params.preset, preset, weights, whole)
    if weights.lvlm_sha256:
        check_folder(folder, weights.lvlm_sha256, "train.weights.lvlm_sha256")
    model, processor = _whole(folder, preset) if whole else _parts(folder, preset, seed, weights)
    model.config.region, model.config.loss = params.region.model_dump(), params.loss.model_dump()
    start_segmenter(model, preset, weights)
    # In bfloat16 they are held as far as they are frozen, which is known later (sim4seg.training.precision).
    return (model.float() if weights.dtype == "float32" else model), processor


def start_segmenter(model: Sim4SegForConditionalGeneration, preset: Preset, weights: Weights) -> None:
    """Put the SAM that ``train.weights.sam`` names into a model, if it names one.

    Raises:
        ConfigError: it is not there.
        ModelError: a digest differs, or it is of another build.
    """
    path = sam_path(preset, weights)
    if path is not None:
        from sim4seg.model.weights.sam import load_sam

        load_sam(model.segmenter, path, weights.sam_sha256 or None)
        _share_tower(model)


def _share_tower(model: Sim4SegForConditionalGeneration) -> None:
    """Give the LVLM the EfficientNet that the segmenter's file holds, where both have one."""
    tower, encoder = model.family.vision_tower(model.lvlm), model.segmenter.image_encoder
    if isinstance(tower, EfficientNetLite) and isinstance(encoder, MobileEncoder):
        tower.network.load_state_dict(encoder.lite.state_dict())


def check_segmenter(name: str, preset: Preset, weights: Weights, whole: bool = False) -> None:
    """Refuse to begin without the SAM that a preset starts from: before the LVLM is read, which may take minutes.

    Args:
        name: the preset's.
        preset: itself.
        weights: what is given.
        whole: whether the LVLM's folder holds a whole model, whose SAM will do.

    Raises:
        ConfigError: it is not given, or not on this machine.
    """
    if sam_path(preset, weights) is None and preset.sam and not whole:
        raise _not_given(name, "sam", preset.sam)


def sam_path(preset: Preset, weights: Weights) -> Path | None:
    """The file, or the folder of a model, that ``train.weights.sam`` names; None where it is empty.

    Raises:
        ConfigError: it is not on this machine.
    """
    if not weights.sam:
        return None
    path = Path(weights.sam)
    if not path.exists():
        raise _not_there("sam", weights.sam, preset.sam)
    return path


def _not_given(name: str, part: str, source: str) -> ConfigError:
    return ConfigError(
        f"the preset {name!r} starts from published weights, and train.weights.{part} is empty",
        where=f"train.weights.{part}",
        remedy=f"download {source}, and give its path; nothing is fetched by itself",
    )


def _not_there(part: str, path: str, source: str) -> ConfigError:
    return ConfigError(
        f"the weights {path!r} are not on this machine",
        where=f"train.weights.{part}",
        remedy=f"give a path that exists{f' ({source})' if source else ''}; nothing is fetched by itself",
    )


def local_folder(name: str, preset: Preset, weights: Weights) -> Path:
    """The LVLM's folder: a path, or a Hub id whose revision is in the local cache.

    Raises:
        ConfigError: not given, not on this machine, or a folder with a revision.
    """
    if not weights.lvlm:
        raise _not_given(name, "lvlm", preset.lvlm)
    if Path(weights.lvlm).is_dir():
        if weights.lvlm_revision:
            raise ConfigError(
                "a revision is that of a Hub id, and train.weights.lvlm is a folder, which is taken as it is",
                where="train.weights.lvlm_revision",
                remedy="leave it empty, and pin the folder by train.weights.lvlm_sha256",
            )
        return Path(weights.lvlm)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(weights.lvlm, revision=weights.lvlm_revision or None, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise _not_there("lvlm", weights.lvlm, preset.lvlm) from error


def digests_not_given(name: str, preset: Preset, weights: Weights) -> dict[str, str]:
    """Digests of the weights that ``train.weights`` names by path alone, where other ones may lie later.

    Raises:
        ConfigError: they are not on this machine.
    """
    digests = {}
    if weights.lvlm and not weights.lvlm_sha256:
        digests["lvlm"] = digest_directory(local_folder(name, preset, weights))
    sam = None if weights.sam_sha256 else sam_path(preset, weights)
    if sam is not None:
        digests["sam"] = digest_directory(sam) if sam.is_dir() else digest_file(sam)
    return digests


def _model_type(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "config.json is missing or not JSON", where=str(folder), remedy="give the folder of a model"
        ) from error


def _whole(folder: Path, preset: Preset) -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    from sim4seg.model.loading import load

    model, processor = load(folder, "cpu")  # each process moves it to a GPU of its own
    _check_sizes(
        model.config, preset.configure(TokenVocabulary.of(processor.tokenizer, processor.frames.image_token))[0], folder
    )
    return model.train(), processor


def _parts(
    folder: Path, preset: Preset, seed: int, weights: Weights
) -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    """An LVLM as published, SAM and projection fresh."""
    lvlm_config = AutoConfig.from_pretrained(folder, local_files_only=True)
    family_of(lvlm_config)
    placeholder = preset.configure(preset.vocabulary or TokenVocabulary(1024, 3, 4, 1, 2, 0))[1].image_token
    tokenizer = _with_seg(folder, placeholder)
    config, frames = preset.configure(TokenVocabulary.of(tokenizer, placeholder))
    _check_lvlm(lvlm_config, config.lvlm_config, folder)
    lvlm = _published_lvlm(folder, getattr(torch, weights.dtype))
    torch.manual_seed(seed)
    if len(tokenizer) > lvlm.get_input_embeddings().num_embeddings:
        lvlm.resize_token_embeddings(len(tokenizer))
    config.lvlm_config = lvlm.config  # whose number of rows may have grown
    return Sim4SegForConditionalGeneration(config, lvlm), Sim4SegProcessor(tokenizer, frames)


def _published_lvlm(folder: Path, dtype: torch.dtype) -> Any:
    """An LVLM with every one of its weights from the folder's safetensors, and none left over."""
    from sim4seg.model.loading import refuse_uneven
    from sim4seg.model.weights.checkpoint import open_checkpoint

    files = open_checkpoint(folder).files  # transformers would not say what is wrong with a file
    pickles = [file.name for file in files if file.suffix != ".safetensors"]
    if pickles:
        raise ModelError(
            f"the weights are pickles ({pickles[0]}), which may hold code; an LVLM is read from safetensors only",
            where=str(folder),
            remedy="download the revision with model.safetensors, or save the model again with a current transformers",
        )
    lvlm, report = AutoModelForImageTextToText.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    refuse_uneven(report, folder)
    return lvlm


def _with_seg(folder: Path, placeholder: str) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    tokenizer.add_tokens([SEG_TOKEN], special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    check_tokenizer(tokenizer, (SEG_TOKEN, placeholder), str(folder))
    return tokenizer


def _check_sizes(stored: Any, expected: Any, folder: Path) -> None:
    _check_lvlm(stored.lvlm_config, expected.lvlm_config, folder)
    for name in ("image_size", "embed_dim", "depth"):
        if stored.sam[name] != expected.sam[name]:
            raise _other_build(f"SAM's {name}", stored.sam[name], expected.sam[name], folder)


def _check_lvlm(stored: Any, expected: Any, folder: Path) -> None:
    if stored.model_type != expected.model_type:
        raise _other_build("LVLM", stored.model_type, expected.model_type, folder)
    for part, name in (
        ("text_config", "hidden_size"),
        ("vision_config", "image_size"),
        ("vision_config", "patch_size"),
    ):
        one, other = (getattr(getattr(config, part), name, None) for config in (stored, expected))
        if one != other:
            raise _other_build(f"{part}.{name}", one, other, folder)


def _other_build(what: str, stored: Any, expected: Any, folder: Path) -> ModelError:
    return ModelError(
        f"the weights are not of the preset's build: {what} is {stored}, not {expected}",
        where=str(folder),
        remedy="choose the preset that these weights belong to, or other weights",
    )
