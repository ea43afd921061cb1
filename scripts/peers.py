"""Starts indexes on loopback for scripts that compare them: Armwheels, devpi and pypiserver."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import psutil

from builder.toolbox.fetch import uv_environment

BIN = Path(sys.executable).parent
PEER = "pypiserver[passlib]==2.4.2"
DEVPI_SERVER, DEVPI_CLIENT = "devpi-server==6.20.1", "devpi-client==7.2.0"
_PASSWORD = "conformance"  # noqa: S105 - of a server that lives for one run


def wheel(project: str, number: int, data: bytes = b"", tag: str = "py3-none-any") -> tuple[str, bytes]:
    """Return the name and bytes of a valid wheel that holds ``data``."""
    info = f"{project}-{number}.0.dist-info"
    files = {
        f"{project}/__init__.py": data,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {number}.0\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    lines = [f"{info}/RECORD,,"]
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**files, f"{info}/RECORD": "\n".join(lines).encode()}.items():
            archive.writestr(name, data)
    return f"{project}-{number}.0-{tag}.whl", buffer.getvalue()


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(
    command: list[str], url: str, environment: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a server until the context ends. Wait until it answers at ``url``."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            while True:
                try:
                    httpx2.get(url, timeout=60)
                    break
                except httpx2.TransportError:
                    if process.poll() is not None:
                        raise RuntimeError(f"{command[0]} ended with {process.returncode}") from None
                    time.sleep(0.02)
            yield psutil.Process(process.pid)
        finally:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.terminate()
                process.terminate()


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
    start: Callable[[], AbstractContextManager[psutil.Process]] | None = None
    """Starts the same server again, once it has ended; None for one that was running already."""


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

    start = partial(running, [program, "serve", "--port", str(port)], f"{url}/livez", environment)
    with start() as process:
        yield Peer(
            name="armwheels",
            simple=f"{url}/nightly/generic/simple/",
            upload=f"{url}/upload/",
            user="__token__",
            password=token,
            process=process,
            publish=publish,
            start=start,
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
    command += ["-i", "127.0.0.1", "-p", str(port), str(folder)]
    start = partial(running, command, f"http://127.0.0.1:{port}/", uv_environment())
    with start() as process:
        yield Peer(
            name="pypiserver",
            simple=f"http://127.0.0.1:{port}/simple/",
            upload=f"http://127.0.0.1:{port}/",
            user="anybody",
            password=_PASSWORD,
            process=process,
            publish=_nothing,
            start=start,
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
        env=uv_environment(),
    )
    command = [uvx, "--from", DEVPI_SERVER, "devpi-server", "--serverdir", str(server), "--port", str(port)]
    start = partial(running, command, f"{url}/", uv_environment())
    with start() as process:

        def call(*arguments: str) -> None:
            subprocess.run(
                [uvx, "--from", DEVPI_CLIENT, "devpi", *arguments, "--clientdir", str(client)],
                check=True,
                capture_output=True,
                env=uv_environment(),
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
            start=start,
        )


def program(name: str, folder: Path) -> Path:
    """Return a program of this machine, or of its Debian package, unpacked below ``folder`` without root.

    Raises:
        FileNotFoundError: neither is to be had here.
    """
    if found := shutil.which(name):
        return Path(found)
    if shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "download", name], cwd=folder, check=False, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    unpacked = next(folder.glob(f"usr/*bin/{name}"), None)
    if unpacked is None:
        raise FileNotFoundError(f"{name} is not here, and its Debian package cannot be had")
    return unpacked


PEERS = {"armwheels": armwheels, "devpi": devpi, "pypiserver": pypiserver}
