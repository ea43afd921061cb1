"""The commands ``backup`` and ``restore`` of ``armwheels-index``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from index_server.errors import CheckFailedError
from index_server.settings import load_settings
from index_server.store.address import open_store, open_unmarked
from index_server.upkeep.copy import Copied, copy_store, refuse_same

out = Console(emoji=False)
err = Console(stderr=True, emoji=False)
_SHOWN = 10  # names of objects


def backup(
    target: Annotated[str, typer.Argument(help="Where the copy is made: file:FOLDER or s3://BUCKET/PREFIX.")],
) -> None:
    """Copy the store to another place. A later run copies what is new.

    Servers may run at the same time, but not `collect`. The bytes of wheels are compared with their hashes. After
    an interruption, the same command continues. Exit code 1: an object of the store is damaged, and was not copied.
    """
    store = load_settings().store
    refuse_same(store, target)
    with err.status("reading the store") as status:
        result = copy_store(
            open_store(store),
            open_unmarked(target),
            lambda number, size: status.update(f"{number} objects, {decimal(size)} copied"),
        )
    _print(result, store, target)


def restore(
    source: Annotated[str, typer.Argument(help="The copy: file:FOLDER or s3://BUCKET/PREFIX.")],
) -> None:
    """Copy a backup into an empty store, or into the store that it was made of, which gets what it lacks.

    No object is replaced or deleted. Then run `armwheels-index check --deep`, and start the servers.
    """
    store = load_settings().store
    refuse_same(source, store)
    with err.status("reading the backup") as status:
        result = copy_store(
            open_unmarked(source),
            open_unmarked(store),
            lambda number, size: status.update(f"{number} objects, {decimal(size)} copied"),
        )
    _print(result, source, store)


def _print(result: Copied, source: str, target: str) -> None:
    out.print(
        f"copied {result.objects} objects ({decimal(result.bytes)}) from {source} to {target}; "
        f"{result.there} were there",
        highlight=False,
        soft_wrap=True,
    )
    for state, found in (("damaged", result.damaged), ("deleted meanwhile", result.deleted)):
        for key in found[:_SHOWN]:
            out.print(f"{state}: {key}", highlight=False, soft_wrap=True, markup=False)
        if len(found) > _SHOWN:
            out.print(f"{state}: {len(found) - _SHOWN} more", highlight=False)
    if not result.whole:
        raise CheckFailedError(
            f"{len(result.damaged)} objects are damaged and {len(result.deleted)} were deleted meanwhile: "
            "run `armwheels-index check --deep`, and then this command again"
        )
