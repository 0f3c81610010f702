"""``market-spine publish``: every version of every row, as files that any engine reads as of any moment."""

from __future__ import annotations

from pathlib import Path

import click

from market_spine.cli import output
from market_spine.cli.options import TrimmedPath, db_option, json_option

FORMATS = ("parquet", "iceberg")


@click.command()
@click.option("--to", required=True, type=TrimmedPath(), help="Its folder, made if need be; or s3://BUCKET/PREFIX.")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="In which form.")
@db_option
@json_option
def publish(to: str, form: str, db: str | None, as_json: bool) -> None:
    """Bring a lake up to the latest commit: every version of every row, with when it was known.

    Only partitions that something came to since the last publication are written. Readers see the lake as it was, or as
    it is then.
    """
    from market_spine.publish.iceberg import publish_iceberg
    from market_spine.publish.lake import publish as bring
    from market_spine.publish.lakebucket import LakeBucket
    from market_spine.publish.lakefolder import LakeFolder
    from market_spine.read.spine import connect

    with connect(db) as spine:
        if form == "iceberg":
            result = publish_iceberg(spine, to, LakeFolder(Path(to), "an Iceberg lake lies in a folder"))
        elif to.startswith("s3://"):
            result = bring(spine, to, LakeBucket(to))
        else:
            result = bring(spine, to, LakeFolder(Path(to), "a lake may lie in a folder or at s3://BUCKET/PREFIX"))
    if as_json:
        output.write_json(result.document())
        return
    if result.tables:
        output.write_table(("table", "files", "rows"), [tuple(each) for each in result.tables])
    if result.published_through is None:
        output.write(f"{to}: nothing is committed yet")
        return
    what = "published" if result.tables else "nothing new, published"
    output.write(f"{to}: {what} through {result.published_through}")
