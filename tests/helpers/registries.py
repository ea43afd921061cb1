"""Runs Debian's docker-registry, from the toolbox, on loopback."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from builder.toolbox.toolbox import Toolbox
from scripts.seaweed import free_ports

LOGIN = "tests:on loopback"
_HASHED = "tests:$2b$04$abcdefghijklmnopqrstuu0o0rBSeK2oIA2TodTTjP10tMI5yg9SS\n"  # bcrypt of the password


@contextmanager
def registry(folder: Path, toolbox: Toolbox) -> Iterator[str]:
    """A registry that asks for :data:`LOGIN`; gives its ``HOST:PORT``."""
    program = toolbox.ensure("docker-registry") / "usr/bin/docker-registry"
    [port] = free_ports(1)
    folder.mkdir()
    (folder / "htpasswd").write_text(_HASHED)
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.yml").write_text(json.dumps(config))  # YAML reads JSON
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry did not answer"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/v2/").status_code == 401
    except httpx2.TransportError:
        return False
