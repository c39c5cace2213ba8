"""Commands about raw data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    from sim4seg.config.params import load_params
    from sim4seg.data.sources.record import record_source

    params, file = load_params(), Path("source.snapshot.json")
    recorded = record_source(params.base, params.fetch, file, source, root)
    print(f"{file}: kind {recorded.kind}, {len(recorded.objects)} objects")
    if recorded.kind != params.fetch.source:
        print(f"now set fetch.source to {recorded.kind} in params.yaml")


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
    from sim4seg.data.phantoms.contact_sheet import write_contact_sheet

    write_contact_sheet(out, tuple(key or ()), columns, seed, size)
    print(out)
