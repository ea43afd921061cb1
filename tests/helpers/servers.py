"""Starts real servers on loopback, with an environment in which no other index is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from index_server.settings import ROOT

BIN = Path(sys.executable).parent


@dataclass
class Server:
    """A running ``armwheels-index serve`` on a store that others may share."""

    home: Path
    process: subprocess.Popen[bytes]
    url: str
    token: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def publish(self, session: str | None = None, key: str = "key-1") -> str:
        """A snapshot of a session, and ``nightly`` moved to it."""
        asked = {"session": session, "idempotency_key": key, "channel": "nightly"}
        made = httpx2.post(f"{self.url}/api/snapshots", json=asked, headers=self.auth)
        assert made.status_code in (200, 201), made.text
        snapshot: str = made.json()["id"]
        serial = httpx2.get(f"{self.url}/api/channels/nightly").json()["serial"]
        move = {"snapshot": snapshot, "expected_serial": serial, "nonce": key}
        moved = httpx2.post(f"{self.url}/api/channels/nightly/moves", json=move, headers=self.auth)
        assert moved.status_code in (200, 201), moved.text
        return snapshot

    def upload(self, session: str, name: str, data: bytes, **fields: str) -> httpx2.Response:
        """Send a file as twine does; gives the answer."""
        return httpx2.post(
            f"{self.url}/upload/?session={session}",
            data={":action": "file_upload", **fields},
            files={"content": (name, data)},
            headers=self.auth,
            timeout=60,
        )

    def stored(self, folder: str) -> list[Path]:
        return sorted(path for path in (self.home / "store" / folder).rglob("*") if path.is_file())


def clean_environment(home: Path) -> dict[str, str]:
    """The environment without what would point pip, uv or twine elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "TWINE_", "ARMWHEELS_"))
    }
    return kept | {
        "HOME": str(home / "nobody"),
        "XDG_CONFIG_DIRS": str(home / "nobody"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "UV_CACHE_DIR": str(home / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "ARMWHEELS_HOME": str(home),
    }


def start(home: Path, **variables: str) -> Server:
    """Start a server and wait until it answers; ``variables`` are added to its environment."""
    environment = clean_environment(home) | variables
    ready = home / f"ready-{time.monotonic_ns()}"
    process = subprocess.Popen(
        [BIN / "armwheels-index", "serve", "--port", "0", "--ready-file", ready],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 180  # the machine may be compiling, too
    while not ready.exists():
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server did not answer"
        time.sleep(0.05)
    server = Server(home, process, ready.read_text().strip(), environment=environment)
    made = subprocess.run(
        [BIN / "armwheels-index", "token", "--name", "tests"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    server.token = made.stdout.strip()
    return server


def run(
    server: Server, *command: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in the server's environment, with ``env`` added, and capture what it says."""
    return subprocess.run(
        [str(part) for part in command],
        env={**server.environment, "COLUMNS": "300", **(env or {})},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


def write_configs(folder: Path, channels: str) -> Path:
    """The project's configs, with other channels."""
    folder.mkdir()
    for path in (ROOT / "configs").glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "channels.toml").write_text(channels)
    return folder


def stop(server: Server) -> None:
    server.process.terminate()
    server.process.wait(30)
