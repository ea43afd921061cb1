"""The command ``armwheels-index serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from index_server.api.app import create_app
from index_server.errors import ConfigError
from index_server.limits import load_limits
from index_server.pages import people as landing
from index_server.pages.address import Proxies, is_prefix, networks
from index_server.policy import load_policy
from index_server.serving.run import listen
from index_server.serving.run import serve as run_server
from index_server.settings import FORWARDED_ALLOW_IPS, ROOT_PATH, Settings, load_settings
from index_server.store.address import open_store
from index_server.targets import Lens

out = Console()


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
    text = f"[bold]Armwheels[/] serves {escape(base)}/ from {escape(settings.store)}"
    out.print(text, highlight=False, soft_wrap=True)
    for line in (pip, uv):
        out.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    out.print("Stop it with Ctrl-C.", highlight=False)
