"""The command that makes a registered version again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim4seg.cli.options import AsJson
from sim4seg.errors import Sim4SegError

if TYPE_CHECKING:
    from sim4seg.lineage.evidence import Evidence
    from sim4seg.lineage.reproduce import Reproduction


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
    as_json: AsJson = False,
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
        raise Sim4SegError("--source and --images work only together with --verify", remedy="add --verify")
    if (rebuild or keep) and verify:
        raise Sim4SegError("--rebuild and --keep exclude --verify", remedy="leave out the one or the other")
    from sim4seg.lineage.evidence import read_evidence

    evidence = read_evidence(version, Path.cwd())
    if verify:
        identical = _verify(evidence, ask_source=source, images=images, as_json=as_json)
    else:
        identical = _reproduce(evidence, rebuild=rebuild, keep=keep, as_json=as_json)
    if not identical:
        raise typer.Exit(1)


def _verify(evidence: Evidence, *, ask_source: bool, images: Path | None, as_json: bool) -> bool:
    """Print each link as it is checked, and write the list of objects if it was asked for; False if a link failed."""
    from sim4seg.lineage.links import FAILED, NOT_CHECKED, OK
    from sim4seg.lineage.verify import verify

    links = []
    if not as_json:
        print(f"{evidence.label}, commit {evidence.commit or 'unknown'}")
    for link in verify(evidence, Path.cwd(), ask_source=ask_source):
        links.append(link)
        if not as_json:
            print(f"{link.state:12}{link.name}: {link.said}", flush=True)
    count = {state: sum(link.state == state for link in links) for state in (OK, FAILED, NOT_CHECKED)}
    if as_json:
        print(json.dumps({"version": evidence.label, "links": [asdict(link) for link in links], "count": count}))
    else:
        print(", ".join(f"{number} {state}" for state, number in count.items()))
    if images is not None:
        _list_images(evidence, images, failed=bool(count[FAILED]), as_json=as_json)
    return not count[FAILED]


def _list_images(evidence: Evidence, images: Path, *, failed: bool, as_json: bool) -> None:
    if failed:
        raise Sim4SegError("the list of images was not written: a link failed", remedy="see the links above")
    from sim4seg.lineage.source_links import write_images

    written = write_images(evidence, Path.cwd(), images)
    print(f"{images}: {written} objects", file=sys.stderr if as_json else sys.stdout)


def _reproduce(evidence: Evidence, *, rebuild: bool, keep: bool, as_json: bool) -> bool:
    """Make the version again, print what happens, and what is identical or not."""
    from sim4seg.lineage.reproduce import reproduce as make_again

    def say(line: str) -> None:
        print(line, flush=True, file=sys.stderr if as_json else sys.stdout)

    result = make_again(evidence, Path.cwd(), rebuild=rebuild, keep=keep, say=say)
    print(json.dumps(asdict(result), ensure_ascii=False) if as_json else "\n".join(_report(result)))
    return result.identical


def _report(result: Reproduction) -> Iterator[str]:
    yield ""
    for name, how in result.stages.items():
        outcome = {"run": "different" if name in result.differing else "identical"}.get(how, "by recorded digest")
        yield f"{name:14}{how:12}{outcome if how != 'not needed' else ''}".rstrip()
    yield ""
    if result.difference is None:
        yield f"identical: {result.label} was made again, byte for byte"
        return
    first = result.difference
    yield f"different: {first.stage} is the first stage that differs"
    yield from (f"  went in:  {line}" for line in first.inputs)
    for path, lines in first.outputs.items():
        yield from (f"  came out: {path}: {line}" for line in lines or ["other bytes"])
    yield from (f"  cause:    {line}" for line in first.cause)
