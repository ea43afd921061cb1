"""The command ``armwheels-index check``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from index_server.catalog.catalog import Catalog
from index_server.errors import CheckFailedError
from index_server.model import Record
from index_server.settings import load_settings
from index_server.store.address import open_store
from index_server.upkeep import check as checks
from index_server.upkeep.deep import deep_faults

out = Console(emoji=False)
err = Console(stderr=True, emoji=False)


def check(
    deep: Annotated[bool, typer.Option("--deep", help="Also read every file and every object.")] = False,
) -> None:
    """Verify the journals, the snapshots and their files. The exit code is 1 if there is any fault."""
    settings = load_settings()
    catalog = Catalog(open_store(settings.store), settings.channels)
    for note in checks.notes(catalog):
        err.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    faults = [
        fault for name in checks.journal_names(catalog) for fault in checks.journal_faults(catalog, name)
    ]
    faults += [*checks.status_faults(catalog), *checks.collected_faults(catalog)]
    faults += checks.signature_faults(catalog)
    faults += checks.verdict_faults(catalog) if deep else ()
    snapshots = catalog.snapshot_ids()
    seen: dict[str, Record] = {}
    for snapshot_id in track(snapshots, "snapshots", console=err):
        faults += checks.snapshot_faults(catalog, snapshot_id, seen)
    for record in track(list(seen.values()), "files", console=err):
        faults += checks.record_faults(catalog, record, deep=deep)
    faults += deep_faults(catalog, seen) if deep else ()
    for fault in faults:
        err.print(fault, highlight=False, markup=False, soft_wrap=True)
    if faults:
        raise CheckFailedError(f"{len(faults)} faults in {settings.store}")
    out.print(f"{len(snapshots)} snapshots with {len(seen)} files: no faults", highlight=False)
