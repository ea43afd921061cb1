"""The command ``armwheels-index``: the one place where an error becomes an exit code."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from index_server.access import tokens
from index_server.api.app import create_app
from index_server.catalog.catalog import Catalog
from index_server.errors import CheckFailedError, IndexServerError, PortInUseError
from index_server.model import Record
from index_server.pages import people as landing
from index_server.policy import load_policy
from index_server.settings import Settings, load_settings, store_address
from index_server.store.address import open_store
from index_server.targets import Lens
from index_server.upkeep import check as checks
from index_server.upkeep import commands as upkeep

app = typer.Typer(
    name="armwheels-index",
    help="Keeps wheels and serves them, each CPU its own view.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)
THREADS = 40  # that read the store for pages and files
GRACE = 10  # seconds that running requests get when the server stops


@app.command(epilog="Example: [bold]armwheels-index serve --port 8080[/]")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    ready_file: Annotated[
        Path | None, typer.Option(help="File to write the server's URL to once it answers.")
    ] = None,
) -> None:
    """Serve the index until interrupted."""
    settings = load_settings()
    policy = load_policy()
    store = open_store(settings.store)
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)  # an earlier server's must not be believed
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    base = f"http://{shown}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        create_app(store, settings, policy),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    _Server(config, base, settings, ready_file).run(sockets=[listener])


@app.command(
    epilog="Example: [bold]armwheels-index token --name nightly --scope upload:numpy --scope move:nightly[/]"
)
def token(
    name: Annotated[str, typer.Option(help="Who will use it; stands in the journal.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"What it allows: {tokens.SCOPES}; names may hold *. Repeat it for more."),
    ] = None,
    expires_days: Annotated[int | None, typer.Option(min=0, help="Days until it expires.")] = None,
) -> None:
    """Make a token. It is printed once, alone, and kept only as a hash.

    Without a scope it may do what publishing needs: upload:*, evidence, move:*.

    Files that are uploaded with it, without naming a session, wait in a session of the token's own until a
    snapshot is asked for with the same token (POST /api/snapshots without a session).
    """
    store = open_store(store_address())
    typer.echo(tokens.make_token(store, name, expires_days, scope))
    err.print(
        "Keep it: it is not shown again. For twine: TWINE_USERNAME=__token__ TWINE_PASSWORD=THE_TOKEN",
        highlight=False,
    )


@app.command("tokens", epilog="Example: [bold]armwheels-index tokens[/]")
def list_tokens() -> None:
    """List the tokens: who has them, what they allow, until when."""
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "scopes", "made", "expires", "state"):
        table.add_column(heading, overflow="fold")
    for each in tokens.list_tokens(open_store(store_address())):
        table.add_row(
            each.id,
            escape(each.token.name),
            " ".join(each.scopes),
            each.token.created_at[:10],
            (each.token.expires_at or "never")[:10],
            each.state,
        )
    out.print(table, highlight=False)


@app.command(epilog="Example: [bold]armwheels-index revoke nightly[/]")
def revoke(
    name_or_id: Annotated[str, typer.Argument(metavar="NAME-or-ID", help="As `tokens` lists it.")],
) -> None:
    """Make tokens invalid for good: the one of an id, or all of a name."""
    gone = tokens.revoke_tokens(open_store(store_address()), name_or_id)
    for each in gone:
        out.print(f"revoked {each.id} {escape(each.token.name)}", highlight=False)
    if not gone:
        out.print("nothing to do: no longer valid before", highlight=False)


@app.command(epilog="Example: [bold]armwheels-index check --deep[/]")
def check(
    deep: Annotated[bool, typer.Option("--deep", help="Also read every file, and all evidence.")] = False,
) -> None:
    """Verify the journals, the snapshots and what they hold; exits with 1 when anything is wrong."""
    settings = load_settings()
    catalog = Catalog(open_store(settings.store), settings.channels)
    faults = [fault for name in catalog.channels for fault in checks.journal_faults(catalog, name)]
    faults += [*checks.status_faults(catalog), *checks.collected_faults(catalog)]
    faults += checks.verdict_faults(catalog) if deep else ()
    snapshots = catalog.snapshot_ids()
    seen: dict[str, Record] = {}
    for snapshot_id in track(snapshots, "snapshots", console=err):
        faults += checks.snapshot_faults(catalog, snapshot_id, seen)
    for record in track(list(seen.values()), "files", console=err):
        faults += checks.record_faults(catalog, record, deep=deep)
    for fault in faults:
        err.print(fault, highlight=False, markup=False, soft_wrap=True)
    if faults:
        raise CheckFailedError(f"{len(faults)} faults in {settings.store}")
    out.print(f"{len(snapshots)} snapshots with {len(seen)} files: all as recorded", highlight=False)


app.command(epilog="Example: [bold]armwheels-index collect --dry-run[/]")(upkeep.collect)
app.command(epilog="Example: [bold]armwheels-index mirror pandas --target neoverse-v1 --python cp311[/]")(
    upkeep.mirror
)


class _Server(uvicorn.Server):
    """Says when and where it answers."""

    def __init__(
        self, config: uvicorn.Config, base: str, settings: Settings, ready_file: Path | None
    ) -> None:
        super().__init__(config)
        self._base = base
        self._settings = settings
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # Threads wait for the store; the default of a few a processor would let one slow store stop all pages.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "store"))
        await super().startup(sockets)
        if not self.started:
            return
        _banner(self._base, self._settings)
        if self._ready_file is not None:
            await asyncio.to_thread(_write_whole, self._ready_file, self._base + "\n")


def _banner(base: str, settings: Settings) -> None:
    lens = Lens(landing.default_target(settings.targets.by_name.values()))
    channel = next(iter(settings.channels))
    pip, uv = landing.install_lines(base, channel, lens, "numpy")
    out.print(f"[bold]Armwheels[/] serves {escape(base)}/ from {escape(settings.store)}", highlight=False)
    for line in (pip, uv):
        out.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    out.print("Stop it with Ctrl-C.", highlight=False)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            advice = f"stop what uses it, or take another: armwheels-index serve --port {port + 1}"
            raise PortInUseError(f"port {port} on {host} is in use; {advice}") from error
        raise PortInUseError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def _write_whole(path: Path, text: str) -> None:
    """Write so that a reader sees all of it or nothing."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def main() -> None:
    """Run the command; an :class:`IndexServerError` ends it with that error's exit code."""
    try:
        app()
    except IndexServerError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
