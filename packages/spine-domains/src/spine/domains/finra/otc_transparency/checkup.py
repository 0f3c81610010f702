"""What ``market-spine doctor`` says of FINRA's source, its folder and its credentials."""

from __future__ import annotations

from collections.abc import Iterator

from market_spine.core.checking import CheckResult, checked
from market_spine.errors import SourceError
from market_spine.settings import variable
from market_spine.sources.files import Folder
from spine.domains.finra.otc_transparency.scheduler import DATA_DIR, api_config, choose_source
from spine.domains.finra.otc_transparency.source import FileSource

SECONDS = 20.0
"""How long FINRA's API may take to answer."""


def checkup(*, online: bool) -> Iterator[CheckResult]:
    """The source in effect: the folder, or the API and whether it is asked with credentials.

    Args:
        online: also ask the API what it has.
    """
    source = checked("finra source", lambda: choose_source(None))
    yield source
    if source.message == "file":
        yield checked("finra folder", _folder)
    if source.message == "api":
        yield checked("finra keys", _keys)
        if online:
            yield checked("finra api", _api)


def _folder() -> str:
    folder = FileSource(variable("FINRA_DATA_DIR", DATA_DIR))
    partitions, unknown = folder.available(), folder.unrecognised()
    told = f"{Folder(folder.data_dir).shown} has files of {len(partitions)} partitions"
    if partitions:
        told += f", from {partitions[0].key} to {partitions[-1].key}"
    if unknown:
        raise SourceError(
            f"{told}; the names of {', '.join(unknown)} say no tier and week",
            kind="source_name",
            hint="rename them as docs/operations.md says, or move them away",
        )
    return told


def _keys() -> str:
    return (
        "FINRA_CLIENT_ID and FINRA_CLIENT_SECRET are set" if api_config().client_id else "none set: asked anonymously"
    )


def _api() -> str:
    from market_spine.sources.http import HttpClient, Policy
    from market_spine.sources.limits import Deadline
    from spine.domains.finra.otc_transparency.api.client import SUMMARY, FinraApi

    config = api_config()
    client = HttpClient(policy=Policy(attempts=2, timeout=SECONDS, total=SECONDS))
    try:
        listed = FinraApi(config, client).partitions(SUMMARY, Deadline(SECONDS))
    finally:
        client.close()
    if not listed:
        raise SourceError(f"{client.shown(config.url)} lists no week", kind="no_list", hint="check FINRA_API_URL")
    return f"{client.shown(config.url)} answers, and lists {len(listed)} partitions up to the week of {max(listed)[0]}"
