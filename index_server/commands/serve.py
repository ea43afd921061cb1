"""The command ``armwheels-index serve``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from index_server.catalog.catalog import Catalog
from index_server.errors import StoreError
from index_server.limits import load_limits
from index_server.middleware.observe import MULTIPROCESS
from index_server.pages import people as landing
from index_server.rules.views import visible
from index_server.serving.application import MAKE_APPLICATION, from_environment
from index_server.serving.run import listen
from index_server.serving.run import serve as run_server
from index_server.settings import FORWARDED_ALLOW_IPS, ROOT_PATH, WORKERS, Settings, load_settings
from index_server.store.address import open_store
from index_server.store.interface import ObjectStore
from index_server.targets import Lens

out = Console(emoji=False)


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
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            envvar=WORKERS.name,
            show_envvar=False,
            help="Server processes. Each has its own limits, and its own pages in memory.",
        ),
    ] = 1,
) -> None:
    """Serve the index until interrupted."""
    for variable, value in ((ROOT_PATH, root_path), (FORWARDED_ALLOW_IPS, forwarded_allow_ips)):
        if value is not None:
            os.environ[variable.name] = value  # where the server processes read it
    with _shared_numbers(workers):
        _serve(host, port, ready_file, workers)


@contextmanager
def _shared_numbers(workers: int) -> Iterator[None]:
    """Several processes add up their metrics in files, whose folder must be known before they are made."""
    if workers == 1 or MULTIPROCESS in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="armwheels-metrics-") as folder:
        os.environ[MULTIPROCESS] = folder
        yield


def _serve(host: str, port: int, ready_file: Path | None, workers: int) -> None:
    settings = load_settings()
    store = open_store(settings.store)
    app = from_environment(store)  # also reports faults before anything starts
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)  # it may be left from an earlier server
    limits = load_limits()
    listener = listen(host, port, limits.send_seconds)
    shown = f"[{host}]" if ":" in host else host
    base = f"http://{shown}:{listener.getsockname()[1]}"
    run_server(
        app if workers == 1 else MAKE_APPLICATION,
        listener,
        limits,
        workers=workers,
        base=base,
        ready_file=ready_file,
        announce=lambda: _banner(base, settings, store),
    )


def _banner(base: str, settings: Settings, store: ObjectStore) -> None:
    lens = Lens(landing.default_target(settings.targets.by_name.values()))
    channel = next(iter(settings.channels))
    project = _example(Catalog(store, settings.channels), channel, lens)
    text = f"[bold]Armwheels[/] serves {escape(base)}/ from {escape(settings.store)}"
    out.print(text, highlight=False, soft_wrap=True)
    for line in landing.install_lines(base, channel, lens, project or "PROJECT"):
        out.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    if project is None:
        out.print(f"{channel} has no wheels for {lens.slug} yet.", highlight=False)
    out.print("Stop it with Ctrl-C.", highlight=False)


def _example(catalog: Catalog, channel: str, lens: Lens) -> str | None:
    """A project that a channel shows for a target, NumPy if it does; None if it shows none."""
    with suppress(StoreError):  # the server says so to those who ask
        move = catalog.head(channel)
        if move is not None:
            projects = catalog.snapshot(move.snapshot).projects
            shown = sorted(name for name, ref in projects.items() if visible(ref.offers, lens))
            return "numpy" if "numpy" in shown else next(iter(shown), None)
    return None
