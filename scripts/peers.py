"""Starts indexes on loopback for scripts that compare them: Armwheels, devpi and pypiserver."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from scripts.bench_pages import BIN, PEER, free_port, running

DEVPI_SERVER, DEVPI_CLIENT = "devpi-server==6.20.1", "devpi-client==7.2.0"
_PASSWORD = "conformance"  # noqa: S105 - of a server that lives for one run


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A running index. ``publish`` makes uploads visible where that is a step of its own."""

    name: str
    simple: str  # URL, with a slash at its end
    upload: str
    user: str
    password: str
    process: psutil.Process
    publish: Callable[[], None]


def _nothing() -> None:
    return None


@contextmanager
def armwheels(folder: Path) -> Iterator[Peer]:
    """Armwheels with a store in ``folder``. Uploads are shown after a snapshot to which ``nightly`` moves."""
    environment = {**os.environ, "ARMWHEELS_HOME": str(folder), "ARMWHEELS_UPLOADS_PER_SECOND": "9999"}
    program = str(BIN / "armwheels-index")
    made = subprocess.run(
        [program, "token", "--name", "peer"], check=True, capture_output=True, text=True, env=environment
    )
    token, port = made.stdout.strip(), free_port()
    url, auth = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {token}"}
    snapshots = iter(range(1_000_000))

    def publish() -> None:
        asked = {"idempotency_key": f"peer-{next(snapshots)}", "channel": "nightly"}
        snapshot = httpx2.post(f"{url}/api/snapshots", json=asked, headers=auth, timeout=600).json()["id"]
        serial = httpx2.get(f"{url}/api/channels/nightly").json()["serial"]
        move = {"snapshot": snapshot, "expected_serial": serial, "nonce": snapshot}
        httpx2.post(f"{url}/api/channels/nightly/moves", json=move, headers=auth).raise_for_status()

    with running([program, "serve", "--port", str(port)], f"{url}/livez", environment) as process:
        yield Peer(
            name="armwheels",
            simple=f"{url}/nightly/generic/simple/",
            upload=f"{url}/upload/",
            user="__token__",
            password=token,
            process=process,
            publish=publish,
        )


@contextmanager
def pypiserver(folder: Path) -> Iterator[Peer]:
    """pypiserver over a folder; everybody may upload."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [
        str(BIN / "uvx"),
        "--from",
        PEER,
        "pypi-server",
        "run",
        "-P",
        ".",
        "-a",
        ".",
        "--disable-fallback",
    ]
    with running(
        [*command, "-i", "127.0.0.1", "-p", str(port), str(folder)], f"http://127.0.0.1:{port}/"
    ) as process:
        yield Peer(
            name="pypiserver",
            simple=f"http://127.0.0.1:{port}/simple/",
            upload=f"http://127.0.0.1:{port}/",
            user="anybody",
            password=_PASSWORD,
            process=process,
            publish=_nothing,
        )


@contextmanager
def devpi(folder: Path) -> Iterator[Peer]:
    """devpi-server with one index that has no base."""
    server, client = folder / "server", folder / "client"
    uvx, port = str(BIN / "uvx"), free_port()
    url = f"http://127.0.0.1:{port}"
    subprocess.run(
        [uvx, "--from", DEVPI_SERVER, "devpi-init", "--serverdir", server, "--no-root-pypi"],
        check=True,
        capture_output=True,
    )
    command = [uvx, "--from", DEVPI_SERVER, "devpi-server", "--serverdir", str(server), "--port", str(port)]
    with running(command, f"{url}/") as process:

        def call(*arguments: str) -> None:
            subprocess.run(
                [uvx, "--from", DEVPI_CLIENT, "devpi", *arguments, "--clientdir", str(client)],
                check=True,
                capture_output=True,
            )

        call("use", url)
        call("user", "-c", "peer", f"password={_PASSWORD}")
        call("login", "peer", f"--password={_PASSWORD}")
        call("index", "-c", "dev", "bases=", "volatile=False")
        yield Peer(
            name="devpi",
            simple=f"{url}/peer/dev/+simple/",
            upload=f"{url}/peer/dev/",
            user="peer",
            password=_PASSWORD,
            process=process,
            publish=_nothing,
        )


PEERS = {"armwheels": armwheels, "devpi": devpi, "pypiserver": pypiserver}
