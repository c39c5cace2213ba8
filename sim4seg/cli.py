"""The command line. Libraries that take seconds to import are imported by the command that needs them."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console
from rich.panel import Panel
from typer.core import TyperGroup

from sim4seg.errors import Sim4SegError
from sim4seg.model.weights.commands import convert_lisa, make_mobile, make_smol, merge_lora, push, save_adapters
from sim4seg.offline import silence
from sim4seg.plan.command import plan

if TYPE_CHECKING:
    from sim4seg.inference.predictor import Prediction, Predictor

silence()
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' bar of reading weights, which takes a moment

REGISTERED = ("models:/", "s3://")
CHAMPION = "models:/sim4seg@champion"


class Group(TyperGroup):
    """Commands whose :class:`Sim4SegError` becomes a message on standard error and its exit code, without a trace."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except Sim4SegError as error:
            Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"error: {error}")
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="Sim4Seg: from a medical image and a question to a mask, a reasoning and a diagnosis.",
)


def parse_tts(text: str) -> tuple[int, int]:
    """Read "2x3" as (2 paths, 3 perturbations).

    Raises:
        Sim4SegError: not of that form, or a number outside 1 to 16.
    """
    match = re.fullmatch(r"([0-9]{1,2})x([0-9]{1,2})", text.strip().lower())
    if match and all(1 <= int(number) <= 16 for number in match.groups()):
        return int(match[1]), int(match[2])
    raise Sim4SegError(
        f"cannot read {text!r} as test-time scaling",
        where="--tts",
        remedy="give PATHSxPERTURBATIONS, each 1 to 16, for example --tts 2x2",
    )


def _load(model: str) -> tuple[Predictor, str]:
    """The predictor for a registered model or a folder, and the version to be named in the answer."""
    from sim4seg import model as models
    from sim4seg.digest import digest_directory
    from sim4seg.inference.predictor import Predictor
    from sim4seg.inference.settings import AnswerSettings
    from sim4seg.registry import params_beside, resolve

    # A folder is named by its digest only when it has turned out to be a model.
    folder, version = resolve(model) if model.startswith(REGISTERED) else (Path(model), "")
    loaded = models.load(folder)
    settings = AnswerSettings.recorded(params_beside(model, folder))
    return Predictor(*loaded, settings), version or f"sha256:{digest_directory(folder)[:12]}"


def _show(answer: Prediction, report: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False)
    console.print(Panel(answer.text, title="answer", title_align="left"))
    console.print(f"diagnosis    {answer.diagnosis or '(the answer has no conclusion)'}")
    console.print(f"confidence   {report['confidence']:.2f}")
    for name in ("mask", "overlay", "similarity"):
        console.print(f"{name:12} {report[name]}", soft_wrap=True)
    console.print(f"model        {report['model_version']}, {report['seconds']:.1f} s")


@app.command()
def predict(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG, BMP, TIFF or DICOM file.", show_default=False)],
    question: Annotated[str, typer.Argument(help="What to find, in words.", show_default=False)],
    model: Annotated[str, typer.Option(help="Registered model, s3://BUCKET/PREFIX/champion, or a folder.")] = CHAMPION,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("predictions"),
    tts: Annotated[
        str | None, typer.Option(help="Test-time scaling: PATHSxPERTURBATIONS. Slower, often better.", metavar="MxN")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")] = False,
) -> None:
    """Answer a question about an image: diagnosis, reasoning, mask. For research, not for care of patients.

    Writes NAME_mask.png, NAME_overlay.png and NAME_similarity.png into the folder given by --out.

    Examples:

        sim4seg predict scan.png "Where is the polyp, and is it benign?"

        sim4seg predict scan.dcm "Is there a fracture?" --model models/sim4seg --tts 2x2 --json
    """
    # Everything that can be wrong with the call is checked before the model is loaded.
    scaling = parse_tts(tts) if tts is not None else None
    if not question.strip():
        raise Sim4SegError("the question is empty", remedy="ask what to find, e.g. 'Where is the lesion?'")
    if not image.is_file():
        raise Sim4SegError("there is no such image", where=str(image), remedy="check the path")
    from sim4seg.inference.pictures import write_pictures

    predictor, version = _load(model)
    start = time.monotonic()
    answer = predictor.predict(image, question, scaling)
    files = write_pictures(out, image.stem, answer.image, answer.mask, answer.similarity)
    report = {
        "diagnosis": answer.diagnosis,
        "text": answer.text,
        "confidence": round(answer.confidence, 6),
        **{name: str(path) for name, path in asdict(files).items()},
        "model_version": version,
        "seconds": round(time.monotonic() - start, 3),
    }
    if as_json:
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _show(answer, report)


@app.command()
def snapshot(
    source: Annotated[str | None, typer.Option(help="phantoms, local or s3. Default: fetch.source.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder, or s3://BUCKET/PREFIX. Default: fetch.root.")] = None,
) -> None:
    """Record what the raw data are now, in source.snapshot.json. Commit that file: `dvc repro` fetches what it lists.

    Examples:

        sim4seg snapshot

        sim4seg snapshot --source local --root /data/m3ds

        AWS_ENDPOINT_URL=https://store.local sim4seg snapshot --source s3 --root s3://studies/m3ds
    """
    from sim4seg.config.fetch import Fetch
    from sim4seg.config.params import load_params
    from sim4seg.data.snapshot import write_snapshot
    from sim4seg.data.sources import open_source

    params = load_params()
    kinds = get_args(Fetch.model_fields["source"].annotation)
    if source is not None and source not in kinds:
        raise Sim4SegError(f"no such kind of source: {source!r}", where="--source", remedy=f"use one of {kinds}")
    if root is not None:
        os.environ["SIM4SEG_SOURCE_ROOT"] = root  # what was typed last wins over the environment
    fetch = params.fetch.model_copy(update={"source": source or params.fetch.source})
    taken = open_source(params.base, fetch).take_snapshot()
    write_snapshot(Path("source.snapshot.json"), taken)
    print(f"source.snapshot.json: kind {taken.kind}, {len(taken.objects)} objects")
    if taken.kind != params.fetch.source:
        print(f"now set fetch.source to {taken.kind} in params.yaml")


@app.command()
def phantoms(
    out: Annotated[Path, typer.Argument(help="PNG to write.", show_default=False)],
    key: Annotated[list[str] | None, typer.Option(help="A sub-dataset; may be repeated. Default: all ten.")] = None,
    columns: Annotated[int, typer.Option(min=1, max=32, help="Images in a row.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="As base.seed in params.yaml.")] = 17,
    size: Annotated[int, typer.Option(min=96, max=1024, help="Shorter side of an image, pixels.")] = 256,
) -> None:
    """Paint a contact sheet of the phantoms, with the true masks outlined and the labels written on.

    Examples:

        sim4seg phantoms sheet.png

        sim4seg phantoms sheet.png --key busi --key tn3k --columns 12
    """
    from sim4seg.atomic import atomic_file
    from sim4seg.data.phantoms import KEYS
    from sim4seg.data.phantoms.__main__ import contact_sheet

    unknown = sorted(set(key or ()) - set(KEYS))
    if unknown:
        raise Sim4SegError(f"no such sub-dataset: {', '.join(unknown)}", remedy=f"use some of {', '.join(KEYS)}")
    sheet = contact_sheet(tuple(key or KEYS), columns, seed, size)
    with atomic_file(out) as partial:
        sheet.save(partial, format="PNG")
    print(out)


@app.command()
def promote(
    version: Annotated[int | None, typer.Option(help="Version to promote. Default: the candidate.")] = None,
    decline: Annotated[bool, typer.Option("--decline", help="Log that it shall not become champion.")] = False,
    why: Annotated[str, typer.Option(help="Reason, for the log.")] = "",
    who: Annotated[str, typer.Option(help="Name for the log. Default: the user's.")] = "",
    data: Annotated[
        Path, typer.Option(help="Project folder with the candidate's shards, if the champion must be scored again.")
    ] = Path(),
) -> None:
    """Make a registered version the champion if it passes every rule; a refusal says which rule and by how much.

    Examples:

        sim4seg promote

        sim4seg promote --version 3 --why "agreed on Monday" --who "A. Reader"

        sim4seg promote --version 4 --decline --why "the reasoning texts read badly"
    """
    from sim4seg.config.params import load_params
    from sim4seg.registry import decline as decline_version
    from sim4seg.registry import promote as promote_version

    params, name = load_params().register_, who or None
    if decline:
        print(decline_version(params, version=version, who=name, why=why).message)
    else:
        print(promote_version(params, version=version, who=name, why=why, data=data).message)


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(help="A former champion.", show_default=False)],
    why: Annotated[str, typer.Option(help="Reason, for the log.")] = "",
    who: Annotated[str, typer.Option(help="Name for the log. Default: the user's.")] = "",
) -> None:
    """Make a former champion the champion again.

    Examples:

        sim4seg rollback 2 --why "worse on the new scanner"
    """
    from sim4seg.config.params import load_params
    from sim4seg.registry import rollback as roll_back

    print(roll_back(load_params().register_, version, why=why, who=who or None).message)


@app.command()
def history(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")] = False,
) -> None:
    """Who was champion when, and why, from the promotion log.

    Its hash chain is checked first, and that it ends where the registry says.

    Examples:

        sim4seg history

        sim4seg history --json
    """
    from sim4seg.config.params import load_params
    from sim4seg.registry import history as read_history

    entries = read_history(params=load_params().register_)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        replaced = f" (was version {entry.replaced})" if entry.replaced else ""
        print(
            f"{entry.when}  {entry.action}  {entry.name} version {entry.version}{replaced}  by {entry.who}: {entry.why}"
        )
    if not entries:
        print("no promotion yet")


@app.command()
def reproduce(
    version: Annotated[
        str, typer.Argument(help="A version's number, models:/NAME@ALIAS or models:/NAME/N.", show_default=False)
    ],
    verify: Annotated[bool, typer.Option("--verify", help="Only check every digest, offline; train nothing.")] = False,
    source: Annotated[
        bool, typer.Option("--source", help="With --verify: read the source's files, or ask the bucket, too.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="With --verify: write the source's objects that made it, as CSV.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make the data anew too, whatever DVC's cache and remote hold.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the worktree below work/reproduce/.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")] = False,
) -> None:
    """Make a registered version again from its commit and evidence, and compare every digest. 0 = identical, 1 = not.

    Data come from DVC's cache or remote if they are there; training and scoring are run in any case. A killed run goes
    on where it was. Nothing is registered.

    Examples:

        sim4seg reproduce models:/sim4seg@champion

        sim4seg reproduce 3 --rebuild --keep

        sim4seg reproduce models:/sim4seg@champion --verify --images images.csv
    """
    if (source or images is not None) and not verify:
        raise Sim4SegError("--source and --images go with --verify", remedy="add --verify")
    if (rebuild or keep) and verify:
        raise Sim4SegError("--rebuild and --keep do not go with --verify", remedy="leave out the one or the other")
    from sim4seg.lineage.command import open_version, show_reproduction, show_verification

    here = Path.cwd()
    evidence = open_version(version, here)
    if verify:
        code = show_verification(evidence, here, ask_source=source, images=images, as_json=as_json)
    else:
        code = show_reproduction(evidence, here, rebuild=rebuild, keep=keep, as_json=as_json)
    if code:
        raise typer.Exit(code)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")] = False,
) -> None:
    """Check this machine and this project, and say what to do. Ends with 1 if something must be mended.

    Examples:

        sim4seg doctor

        sim4seg doctor --json
    """
    from sim4seg.doctor import examine

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    console = Console(highlight=False, quiet=as_json, soft_wrap=True)
    checks = []
    for check in examine(Path.cwd()):
        checks.append(check)
        console.print(f"{check.state:5}", style=colours[check.state], end="")
        console.print(f"{check.name:12} {check.message}", markup=False)
        if check.remedy:
            console.print(f"{'':18}-> {check.remedy}", markup=False)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], ensure_ascii=False, indent=2))
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


app.command()(convert_lisa)
app.command()(make_smol)
app.command()(make_mobile)
app.command()(merge_lora)
app.command()(save_adapters)
app.command()(push)
app.command()(plan)


if __name__ == "__main__":
    app()
