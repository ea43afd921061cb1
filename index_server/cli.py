"""The command ``armwheels-index``. :func:`main` turns errors into exit codes; no other function does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from index_server.access import tokens
from index_server.api.app import create_app
from index_server.catalog.catalog import Catalog
from index_server.errors import CheckFailedError, ConfigError, IndexServerError
from index_server.limits import load_limits
from index_server.model import Record
from index_server.pages import people as landing
from index_server.pages.address import Proxies, is_prefix, networks
from index_server.policy import load_policy
from index_server.serving.run import listen
from index_server.serving.run import serve as run_server
from index_server.settings import FORWARDED_ALLOW_IPS, ROOT_PATH, Settings, load_settings, store_address
from index_server.store.address import open_store
from index_server.targets import Lens
from index_server.upkeep import check as checks
from index_server.upkeep import commands as upkeep
from index_server.upkeep.deep import deep_faults

app = typer.Typer(
    name="armwheels-index",
    help="Store wheels and serve them, with a separate package index (PEP 503) for each CPU.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


@app.command(epilog="Example: [bold]armwheels-index serve --port 8080[/]")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free port.")] = 8080,
    ready_file: Annotated[
        Path | None, typer.Option(help="File that the server writes its URL to when it is ready.")
    ] = None,
    root_path: Annotated[
        str | None,
        typer.Option(help="Path under which a reverse proxy serves the index, such as /wheels."),
    ] = None,
    forwarded_allow_ips: Annotated[
        str | None,
        typer.Option(
            help="Addresses and networks of trusted proxies, whose X-Forwarded-Proto, -Host and -Prefix are used;"
            " * for all. Default: 127.0.0.1,::1"
        ),
    ] = None,
) -> None:
    """Serve the index until interrupted."""
    proxies = _proxies(root_path or ROOT_PATH.value(), forwarded_allow_ips or FORWARDED_ALLOW_IPS.value())
    settings = load_settings()
    policy = load_policy()
    store = open_store(settings.store)
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)  # it may be left from an earlier server
    limits = load_limits()
    listener = listen(host, port, limits.send_seconds)
    shown = f"[{host}]" if ":" in host else host
    base = f"http://{shown}:{listener.getsockname()[1]}"
    run_server(
        create_app(store, settings, policy, limits, proxies),
        listener,
        limits,
        base=base,
        ready_file=ready_file,
        announce=lambda: _banner(base, settings),
    )


@app.command(
    epilog="Example: [bold]armwheels-index token --name nightly --scope upload:numpy --scope move:nightly[/]"
)
def token(
    name: Annotated[str, typer.Option(help="Name of the token's user, recorded in the journal.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"Permission: {tokens.SCOPES}; names may contain *. Repeatable."),
    ] = None,
    expires_days: Annotated[int | None, typer.Option(min=0, help="Days until the token expires.")] = None,
) -> None:
    """Create an access token and print it.

    The index stores only a hash of the token, so it cannot print the token again.

    Without --scope, the token has the scopes that publishing needs: upload:*, evidence, move:*.

    Uploads that name no session go into the token's own session. POST /api/snapshots without a session, with the
    same token, makes a snapshot of it.
    """
    store = open_store(store_address())
    typer.echo(tokens.make_token(store, name, expires_days, scope))
    err.print(
        "Store the token now: it is not shown again. For twine: TWINE_USERNAME=__token__ TWINE_PASSWORD=THE_TOKEN\n"
        "After the upload, `armwheels snapshot` with the same token publishes the files.",
        highlight=False,
        soft_wrap=True,
    )


@app.command("tokens", epilog="Example: [bold]armwheels-index tokens[/]")
def list_tokens() -> None:
    """List the tokens with their names, scopes, expiry dates and states."""
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
    name_or_id: Annotated[
        str, typer.Argument(metavar="NAME-or-ID", help="Name or id, as `tokens` lists it.")
    ],
) -> None:
    """Revoke the token with an id, or all tokens with a name. This cannot be undone."""
    revoked = tokens.revoke_tokens(open_store(store_address()), name_or_id)
    for each in revoked:
        out.print(f"revoked {each.id} {escape(each.token.name)}", highlight=False)
    if not revoked:
        out.print("nothing to do: already revoked or expired", highlight=False)


@app.command(epilog="Example: [bold]armwheels-index check --deep[/]")
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


app.command(epilog="Example: [bold]armwheels-index collect --dry-run[/]")(upkeep.collect)
app.command(epilog="Example: [bold]armwheels-index mirror pandas --target neoverse-v1 --python cp311[/]")(
    upkeep.mirror
)


def _proxies(root_path: str | None, trusted: str | None) -> Proxies:
    path = (root_path or "").rstrip("/")
    if not is_prefix(path):
        raise ConfigError(f"the root path {root_path!r} is not valid; write a path such as /wheels")
    try:
        return Proxies(path, networks(trusted)) if trusted else Proxies(path)
    except ValueError as error:
        raise ConfigError(f"--forwarded-allow-ips: {error}; write 10.0.0.5 or 10.0.0.0/8") from error


def _banner(base: str, settings: Settings) -> None:
    lens = Lens(landing.default_target(settings.targets.by_name.values()))
    channel = next(iter(settings.channels))
    pip, uv = landing.install_lines(base, channel, lens, "numpy")
    out.print(f"[bold]Armwheels[/] serves {escape(base)}/ from {escape(settings.store)}", highlight=False)
    for line in (pip, uv):
        out.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    out.print("Stop it with Ctrl-C.", highlight=False)


def main() -> None:
    """Run the command. On an :class:`IndexServerError`, print the message and exit with the error's exit code."""
    try:
        app()
    except IndexServerError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
