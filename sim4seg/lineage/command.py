"""What `sim4seg reproduce` prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from sim4seg.errors import Sim4SegError
from sim4seg.lineage.dvc_cache import Objects
from sim4seg.lineage.dvc_project import cache_folder
from sim4seg.lineage.evidence import Evidence, read_evidence
from sim4seg.lineage.links import FAILED, NOT_CHECKED, OK
from sim4seg.lineage.reproduce import Reproduction, reproduce
from sim4seg.lineage.source_links import write_images
from sim4seg.lineage.verify import verify


def open_version(given: str, workspace: Path) -> Evidence:
    """The version that was typed: a number, or ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        RegistryError: there is none.
    """
    if given.isdecimal():
        from sim4seg.config.params import load_params

        given = f"models:/{load_params(workspace / 'params.yaml').register_.name}/{given}"
    return read_evidence(given, workspace)


def show_verification(
    evidence: Evidence, workspace: Path, *, ask_source: bool, images: Path | None, as_json: bool
) -> int:
    """Print each link as it is checked, and write the list of objects if it was asked for.

    Returns:
        Exit code: 1 if a link failed.
    """
    links = []
    if not as_json:
        print(f"{evidence.label}, commit {evidence.commit or 'unknown'}")
    for link in verify(evidence, workspace, ask_source=ask_source):
        links.append(link)
        if not as_json:
            print(f"{link.state:12}{link.name}: {link.said}", flush=True)
    count = {state: sum(link.state == state for link in links) for state in (OK, FAILED, NOT_CHECKED)}
    if as_json:
        print(json.dumps({"version": evidence.label, "links": [asdict(link) for link in links], "count": count}))
    else:
        print(", ".join(f"{number} {state}" for state, number in count.items()))
    if count[FAILED]:
        if images is not None:
            raise Sim4SegError("the list of images was not written: a link failed", remedy="see the links above")
        return 1
    if images is not None:
        written = write_images(evidence, Objects(workspace, cache_folder(workspace)), images)
        print(f"{images}: {written} objects", file=sys.stderr if as_json else sys.stdout)
    return 0


def show_reproduction(evidence: Evidence, workspace: Path, *, rebuild: bool, keep: bool, as_json: bool) -> int:
    """Make the version again, print what happens, and what is identical or not.

    Returns:
        Exit code: 0 = identical, 1 = different.
    """

    def say(line: str) -> None:
        print(line, flush=True, file=sys.stderr if as_json else sys.stdout)

    result = reproduce(evidence, workspace, rebuild=rebuild, keep=keep, say=say)
    print(json.dumps(asdict(result), ensure_ascii=False) if as_json else "\n".join(_report(result)))
    return 0 if result.identical else 1


def _report(result: Reproduction) -> Iterator[str]:
    yield ""
    for name, how in result.stages.items():
        said = {"run": "different" if name in result.differing else "identical"}.get(how, "by recorded digest")
        yield f"{name:14}{how:12}{said if how != 'not needed' else ''}".rstrip()
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
