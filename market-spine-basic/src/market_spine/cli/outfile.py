"""``--out``: a file that appears whole or not at all, and replaces another only if it is told to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from market_spine.cli import output
from market_spine.cli.options import TrimmedPath
from market_spine.errors import StoreUnavailable, UsageError

C = TypeVar("C", bound=Callable[..., Any])

STDOUT = Path("-")


def out_option(text: str, *, required: bool = False) -> Callable[[C], C]:
    """``--out`` and ``--overwrite``; the command gets ``out`` and ``overwrite``."""

    def declare(function: C) -> C:
        function = click.option("--overwrite", is_flag=True, help="Let --out replace a file.")(function)
        kind = TrimmedPath(path_type=Path, dir_okay=False)
        return click.option("--out", type=kind, required=required, metavar="FILE", help=text)(function)

    return declare


def refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Raise UsageError if the file is there and may not be replaced; devices and pipes are written to."""
    if out != STDOUT and not overwrite and (out.is_file() or out.is_symlink()):
        raise UsageError(f"--out: {out} is there already", hint="--overwrite replaces it; or name another file")


def save(out: Path, write: Callable[[IO[bytes]], Any], *, overwrite: bool) -> None:
    """Write a file, or stdout for ``-``.

    Args:
        out: where to.
        write: is given the open file.
        overwrite: the file may be there already.

    Raises:
        UsageError: it is there and may not be replaced, or stdout is a terminal.
        StoreUnavailable: kind ``output``, it cannot be written.
    """
    if out == STDOUT:
        if sys.stdout.isatty():
            raise UsageError("--out - writes bytes to a terminal", hint="redirect stdout to a file or a pipe")
        write(output.bytes_out())
        output.bytes_out().flush()
        return
    refuse_existing(out, overwrite=overwrite)
    try:
        if out.exists() and not out.is_file():
            with out.open("wb") as file:
                write(file)
        else:
            _replace(out, write, overwrite=overwrite)
    except OSError as error:
        raise StoreUnavailable(
            f"--out: {out} cannot be written: {error.strerror or error}",
            hint="name a file in a folder that can be written",
            kind="output",
        ) from error


def _replace(out: Path, write: Callable[[IO[bytes]], Any], *, overwrite: bool) -> None:
    """Write beside the file, then move it there; a link is followed, and what it leads to is replaced."""
    target = Path(os.path.realpath(out))
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as file:
            write(file)
        if overwrite:
            partial.replace(target)
        else:
            _appear(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _appear(partial: Path, target: Path) -> None:
    try:
        os.link(partial, target)
    except FileExistsError as error:  # somebody else was faster
        raise UsageError(f"--out: {target} is there already", hint="--overwrite replaces it") from error
    except OSError:  # a file system without hard links
        partial.replace(target)
