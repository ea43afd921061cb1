"""A channel that closes over its dependencies, and a lock file that outlives the nightlies it came from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from index_processes import BIN, Server, start, stop
from index_wheels import tuned_wheel

from index_server.catalog import Catalog
from index_server.collector import Collector
from index_server.pages import JSON
from index_server.retention import Terms
from index_server.store import DirectoryStore

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
CHANNELS = '[nightly]\ndescription = "newest"\nretention_days = 3\n[stable]\ndescription = "chosen"\n'
CROSS = ("--python-platform", "aarch64-manylinux_2_28")
NOWHERE = "http://127.0.0.1:9"  # the discard port: whoever asks another host than loopback fails


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    for path in (ROOT / "configs").glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "channels.toml").write_text(CHANNELS)
    return folder


@pytest.fixture
def index(tmp_path: Path, configs: Path) -> Iterator[Server]:
    running = start(tmp_path, ARMWHEELS_CONFIGS=str(configs))
    yield running
    stop(running)


def run(
    server: Server, *command: object, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run with no other index known, and none to be reached."""
    unreachable = {
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "ALL_PROXY": NOWHERE,
        "NO_PROXY": "127.0.0.1",
    }
    lower = {name.lower(): value for name, value in unreachable.items()}
    return subprocess.run(
        [str(part) for part in command],
        env={**server.environment, **unreachable, **lower, "COLUMNS": "300", **more},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


def build(server: Server, letter: str, *, stable: bool) -> str:
    """A night's build of the same cell, perhaps promoted; gives the file's address."""
    name, data = tuned_wheel(wheel_digest=letter * 64)
    session = letter * 22
    sent = httpx2.post(
        f"{server.url}/upload/?session={session}",
        data={":action": "file_upload"},
        files={"content": (name, data)},
        headers=server.auth,
    )
    assert sent.status_code == 200, sent.text
    snapshot = server.publish(session, letter)
    if stable:
        serial = httpx2.get(f"{server.url}/api/channels/stable").json()["serial"]
        move = {"snapshot": snapshot, "expected_serial": serial, "nonce": letter}
        moved = httpx2.post(f"{server.url}/api/channels/stable/moves", json=move, headers=server.auth)
        assert moved.status_code == 201, moved.text
    page = httpx2.get(
        f"{server.url}/nightly/neoverse-v1/simple/demo/", headers={"Accept": JSON}, follow_redirects=True
    )
    [file] = page.json()["files"]
    return f"{server.url}{file['url']}"


def test_a_lock_against_stable_outlives_the_nightlies(index: Server, tmp_path: Path) -> None:
    urls = {"a": build(index, "a", stable=True)}
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11,<3.12"\ndependencies = ["demo"]\n'
        "[tool.uv]\nenvironments = [\"platform_machine == 'aarch64' and sys_platform == 'linux'\"]\n"
        f'[[tool.uv.index]]\nurl = "{index.url}/stable/neoverse-v1/simple/"\ndefault = true\n'
    )
    index.environment.pop("UV_NO_CONFIG")
    locked = run(index, BIN / "uv", "lock", "--python", sys.executable, cwd=project)
    assert locked.returncode == 0, locked.stderr
    lock = (project / "uv.lock").read_text()
    assert urls["a"] in lock
    for letter, stable in (("b", False), ("c", True), ("d", False), ("e", True)):
        urls[letter] = build(index, letter, stable=stable)
    later = datetime.now(UTC) + timedelta(days=30)
    catalog = Catalog(DirectoryStore(tmp_path / "store"), {"nightly": "", "stable": ""}, lambda: later)
    report = Collector(catalog, Terms({"nightly": 3, "stable": None})).run()
    assert (len(report.collected), report.missing) == (2, [])
    status = {letter: httpx2.get(url).status_code for letter, url in urls.items()}
    assert status == {"a": 200, "b": 410, "c": 200, "d": 410, "e": 200}
    assert httpx2.get(urls["b"]).json()["successor"]["url"] in urls["e"]
    synced = run(
        index,
        *(BIN / "uv", "sync", "--locked", "--python", sys.executable, *CROSS),
        cwd=project,
        UV_CACHE_DIR=str(tmp_path / "another-cache"),
    )
    assert synced.returncode == 0, synced.stderr
    assert "demo==1.0+neoverse.v1" in synced.stderr
    assert (project / "uv.lock").read_text() == lock
    assert run(index, BIN / "armwheels-index", "check", "--deep").returncode == 0


def test_one_index_is_enough(index: Server, tmp_path: Path) -> None:
    """A real closure, from the index that this machine's pip is set up with."""
    mirrored = subprocess.run(
        [
            *(str(BIN / "armwheels-index"), "mirror", "requests"),
            *("--target", "neoverse-v1", "--python", "cp311"),
        ],
        env={
            **os.environ,
            "ARMWHEELS_HOME": str(tmp_path),
            "ARMWHEELS_CONFIGS": index.environment["ARMWHEELS_CONFIGS"],
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert mirrored.returncode == 0, mirrored.stderr
    url = f"{index.url}/nightly/neoverse-v1/simple/"
    target = tmp_path / "installed"
    done = run(
        index,
        *(BIN / "uv", "pip", "install", "--no-config", "--index-url", url, *CROSS),
        *("--python-version", "3.11", "--only-binary", ":all:", "--target", target, "requests"),
    )
    assert done.returncode == 0, done.stderr
    found = {path.name.partition("-")[0] for path in target.glob("*.dist-info")}
    assert found >= {"requests", "urllib3", "idna", "certifi", "charset_normalizer"}
    other = run(
        index,
        *(BIN / "uv", "pip", "install", "--no-config", "--index-url", url, *CROSS),
        *("--python-version", "3.11", "--only-binary", ":all:", "--target", target, "numpy"),
    )
    assert other.returncode != 0  # not mirrored, so not there: nothing falls through
    assert "numpy" in other.stderr
    assert run(index, BIN / "armwheels-index", "check", "--deep").returncode == 0
