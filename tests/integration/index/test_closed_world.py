"""A channel that closes over its dependencies, and a lock file that outlives the nightlies it came from."""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from index_server.catalog.catalog import Catalog
from index_server.pages.negotiation import JSON
from index_server.rules.retention import Terms
from index_server.store.folder import DirectoryStore
from index_server.upkeep.collector import Collector
from tests.helpers.servers import BIN, Server, run, start, stop, write_configs
from tests.helpers.wheels import tuned_wheel

pytestmark = pytest.mark.slow
CHANNELS = '[nightly]\ndescription = "newest"\nretention_days = 3\n[stable]\ndescription = "chosen"\n'
CROSS = ("--python-platform", "aarch64-manylinux_2_28")
PIP = [part for minor in range(17, 29) for part in ("--platform", f"manylinux_2_{minor}_aarch64")]


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    return write_configs(tmp_path / "configs", CHANNELS)


@pytest.fixture
def index(tmp_path: Path, configs: Path) -> Iterator[Server]:
    running = start(tmp_path, ARMWHEELS_CONFIGS=str(configs))
    yield running
    stop(running)


class Elsewhere(socketserver.ThreadingTCPServer):
    """A proxy to nowhere. It keeps each request; a client that asks another host than loopback fails."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Refusal)

    @property
    def environment(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server_address[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), address) | {
            "NO_PROXY": "127.0.0.1"
        }
        return proxies | {name.lower(): value for name, value in proxies.items()}


class Refusal(socketserver.StreamRequestHandler):
    """Reads what is asked, and hangs up."""

    server: Elsewhere

    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline(1000).decode("latin-1"))


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


def build(server: Server, letter: str, *, stable: bool) -> str:
    """A night's build of the same cell, perhaps promoted; gives the file's address."""
    name, data = tuned_wheel(wheel_digest=letter * 64)
    session = letter * 22
    sent = server.upload(session, name, data)
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
    return urljoin(f"{server.url}/", file["url"])


def test_a_lock_against_stable_outlives_the_nightlies(
    index: Server, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    urls = {"a": build(index, "a", stable=True)}
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11,<3.12"\ndependencies = ["demo"]\n'
        "[tool.uv]\nenvironments = [\"platform_machine == 'aarch64' and sys_platform == 'linux'\"]\n"
        f'[[tool.uv.index]]\nurl = "{index.url}/stable/neoverse-v1/simple/"\ndefault = true\n'
    )
    index.environment.pop("UV_NO_CONFIG")
    locked = run(
        index, BIN / "uv", "lock", "--python", sys.executable, cwd=project, env=elsewhere.environment
    )
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
    assert urljoin(urls["b"], httpx2.get(urls["b"]).json()["successor"]["url"]) == urls["e"]
    synced = run(
        index,
        *(BIN / "uv", "sync", "--locked", "--python", sys.executable, *CROSS),
        cwd=project,
        env={**elsewhere.environment, "UV_CACHE_DIR": str(tmp_path / "another-cache")},
    )
    assert synced.returncode == 0, synced.stderr
    assert "demo==1.0+neoverse.v1" in synced.stderr
    assert (project / "uv.lock").read_text() == lock
    assert elsewhere.asked == []
    assert run(index, BIN / "armwheels-index", "check", "--deep").returncode == 0


def test_pip_and_uv_install_a_mirrored_closure_from_one_index(
    index: Server, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """A real closure, from the index that this machine's pip is set up with; then pip and uv know ours alone."""
    mirrored = subprocess.run(
        [
            *(str(BIN / "armwheels-index"), "mirror", "pandas"),
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
    pip = (BIN / "pip", "install", "--no-compile", "--python-version", "3.11", "--only-binary", ":all:", *PIP)
    uv = (BIN / "uv", "pip", "install", "--no-config", *CROSS, "--python-version", "3.11")
    found = {}
    for tool, install in (("pip", pip), ("uv", (*uv, "--only-binary", ":all:"))):
        target = tmp_path / tool
        done = run(
            index, *install, "--index-url", url, "--target", target, "pandas", env=elsewhere.environment
        )
        assert done.returncode == 0, done.stderr
        found[tool] = {path.name.partition(".dist-info")[0] for path in target.glob("*.dist-info")}
        other = run(
            index, *install, "--index-url", url, "--target", target, "idna", env=elsewhere.environment
        )
        assert other.returncode != 0  # not mirrored, so not there: nothing falls through
        assert "idna" in other.stderr
    assert found["pip"] == found["uv"]
    assert {name.partition("-")[0] for name in found["pip"]} >= {"pandas", "numpy", "python_dateutil"}
    assert elsewhere.asked == []
    two = (
        "--index-url",
        url,
        "--extra-index-url",
        "https://elsewhere.example/simple/",
        "--target",
        tmp_path / "no",
    )
    run(index, *pip, *two, "--retries", "0", "idna", env=elsewhere.environment)
    assert any("elsewhere.example" in asked for asked in elsewhere.asked)  # it would have been seen
    assert run(index, BIN / "armwheels-index", "check", "--deep").returncode == 0
