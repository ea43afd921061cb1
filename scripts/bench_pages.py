"""Measure the server's CPU microseconds per request of a page, for the index and for pypiserver.

    .venv/bin/python -m scripts.bench_pages --files 2000

The script publishes a project of FILES wheels and one of 40 wheels to an index in a temporary folder. It also
copies them into a folder for pypiserver, which uv downloads. Each server then answers the same requests over one
connection.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import psutil

from index_server.catalog.catalog import Catalog
from index_server.intake.upload import Upload, examine
from index_server.intake.wheel import read_wheel
from index_server.model import stamp
from index_server.settings import load_settings
from index_server.store.address import open_store

BIN = Path(sys.executable).parent
PEER = "pypiserver[passlib]==2.4.2"
SMALL = 40  # files of the small project


def wheel(project: str, number: int) -> tuple[str, bytes]:
    """Return a small valid wheel."""
    info = f"{project}-{number}.0.dist-info"
    files = {
        f"{project}/__init__.py": b"",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {number}.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{info}/RECORD,,"]
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**files, f"{info}/RECORD": "\n".join(lines).encode()}.items():
            archive.writestr(name, data)
    return f"{project}-{number}.0-py3-none-any.whl", buffer.getvalue()


def publish(home: Path, folder: Path, count: int) -> None:
    """Give both servers the same wheels."""
    os.environ["ARMWHEELS_HOME"] = str(home)
    settings = load_settings()
    catalog = Catalog(open_store(settings.store), settings.channels)
    for project, files in (("large", count), ("small", SMALL)):
        for number in range(files):
            name, data = wheel(project, number)
            path = folder / name
            path.write_bytes(data)
            digests = {
                "sha256_digest": hashlib.sha256(data).hexdigest(),
                "blake2_256_digest": hashlib.blake2b(data, digest_size=32).hexdigest(),
            }
            upload = Upload(path, {":action": "file_upload"}, name, len(data), digests)
            record, metadata, _ = examine(
                upload,
                partial(read_wheel, targets=settings.targets, passport=settings.passport),
                at=stamp(catalog.now()),
                by="bench",
            )
            with catalog.store.scratch() as scratch:
                scratch.write_bytes(data)
                catalog.record_file(record, metadata, scratch, "b" * 22)
    snapshot = catalog.make_snapshot("b" * 22, "bench", "nightly").id
    catalog.move("nightly", snapshot_id=snapshot, expected_serial=0, nonce="bench", by="bench")


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
                    time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.terminate()
                process.terminate()


def spent(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def measure(process: psutil.Process, url: str, seconds: float, headers: dict[str, str]) -> tuple[float, int]:
    """Return the CPU microseconds per request, and the size of one answer in bytes."""
    with httpx2.Client(headers=headers, timeout=120) as client:
        size = int(client.get(url).headers.get("content-length", 0))
        count, before, end = 0, spent(process), time.monotonic() + seconds
        while time.monotonic() < end:
            client.get(url)
            count += 1
    return (spent(process) - before) / count * 1e6, size


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    """Run both and print a table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--files", type=int, default=2000, help="files of the large project")
    options.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home, folder = Path(name) / "home", Path(name) / "wheels"
        folder.mkdir()
        publish(home, folder, asked.files)
        ours, theirs = free_port(), free_port()
        serve = [str(BIN / "armwheels-index"), "serve", "--port", str(ours)]
        peer = [str(BIN / "uvx"), "--from", PEER, "pypi-server", "run", "-i", "127.0.0.1", "-p", str(theirs)]
        places = {
            "armwheels": (serve, f"http://127.0.0.1:{ours}/nightly/generic/simple/"),
            "pypiserver 2.4.2": ([*peer, str(folder)], f"http://127.0.0.1:{theirs}/simple/"),
        }
        results: dict[str, list[tuple[float, int]]] = {}
        for title, (command, base) in places.items():
            with running(command, f"{base}small/") as process:
                results[title] = [
                    measure(process, f"{base}{project}/", asked.seconds, {"Accept": "text/html"})
                    for project in ("large", "small")
                ]
    print(f"CPU microseconds of the server a request (bytes of the answer); {asked.files} and {SMALL} files")
    for title, row in results.items():
        print(f"{title:18}" + "".join(f"{micros:12.0f} ({size:>7})" for micros, size in row))


if __name__ == "__main__":
    main()
