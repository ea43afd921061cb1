"""A store that accepts connections and says nothing: an answer within seconds, and all fresh once it speaks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from scripts.seaweed import KEYS, Seaweed
from tests.helpers.servers import BIN, Server, clean_environment, start, stop
from tests.helpers.wheels import make_wheel

SESSION = "s" * 22
PURE = "pure_thing-1.0-py3-none-any.whl"
PAGE = "/nightly/generic/simple/pure-thing/"
JSON = "application/vnd.pypi.simple.v1+json"
SECONDS = 30  # far above what is asked, far below what botocore would take by itself


@pytest.fixture
def seaweed(tmp_path: Path) -> Iterator[Seaweed]:
    running = Seaweed(tmp_path / "seaweed")
    running.start()
    yield running
    running.kill()


@pytest.fixture
def server(seaweed: Seaweed, tmp_path: Path) -> Iterator[Server]:
    running = start(tmp_path, **seaweed.environment("live"))
    yield running
    stop(running)


def test_a_command_ends_where_the_store_is_silent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = clean_environment(tmp_path) | KEYS
        environment["ARMWHEELS_STORE"] = "s3://bucket/prefix"
        environment["ARMWHEELS_S3_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment["ARMWHEELS_STORE_TIMEOUT"] = "0.5"
        done = subprocess.run(
            [BIN / "armwheels-index", "tokens"],
            env=environment, check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 4
    assert "the store does not answer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_store_that_falls_silent(seaweed: Seaweed, server: Server) -> None:
    data = make_wheel(PURE)
    assert server.upload(SESSION, PURE, data).status_code == 200
    server.publish(SESSION)
    fresh = httpx2.get(f"{server.url}{PAGE}")
    os.kill(seaweed.pid, signal.SIGSTOP)
    try:
        time.sleep(1.1)  # the page is believed for a second
        stale = httpx2.get(f"{server.url}{PAGE}", timeout=SECONDS)
        assert (stale.status_code, stale.text) == (200, fresh.text)
        assert int(stale.headers["x-armwheels-stale"]) > 0
        for path in ("/", "/healthz", "/api/snapshots", f"/files/{'0' * 64}/{PURE}"):
            answer = httpx2.get(f"{server.url}{path}", timeout=SECONDS)
            assert (path, answer.status_code, answer.headers["retry-after"]) == (path, 503, "5")
        name = "other-1.0-py3-none-any.whl"
        assert server.upload(SESSION, name, make_wheel(name)).status_code == 503
    finally:
        os.kill(seaweed.pid, signal.SIGCONT)
    deadline = time.monotonic() + SECONDS
    while httpx2.get(f"{server.url}/healthz", timeout=SECONDS).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "x-armwheels-stale" not in httpx2.get(f"{server.url}{PAGE}", timeout=SECONDS).headers


@pytest.mark.slow
def test_a_store_killed_under_load(seaweed: Seaweed, tmp_path: Path) -> None:
    """Pages and files that were sent keep coming, what was acknowledged is there, and nobody has to help."""
    server = start(tmp_path, **seaweed.environment("load"), ARMWHEELS_FILE_CACHE=str(tmp_path / "files"))
    try:
        assert server.upload(SESSION, PURE, make_wheel(PURE)).status_code == 200
        server.publish(SESSION)
        page = httpx2.get(f"{server.url}{PAGE}", headers={"accept": JSON}).json()
        file = urljoin(f"{server.url}{PAGE}", page["files"][0]["url"])
        assert httpx2.get(file).status_code == 200
        seen: dict[str, list[int]] = {PAGE: [], file: []}
        acknowledged: list[str] = []
        ended = threading.Event()

        def read(url: str, statuses: list[int]) -> None:
            with httpx2.Client(timeout=SECONDS) as client:
                while not ended.is_set():
                    statuses.append(client.get(url).status_code)

        def write() -> None:
            for number in range(10_000):
                if ended.is_set():
                    return
                name = f"load_{number}-1.0-py3-none-any.whl"
                if server.upload(SESSION, name, make_wheel(name)).status_code == 200:
                    acknowledged.append(name)

        readers = [
            threading.Thread(target=read, args=(urljoin(server.url, url), statuses))
            for url, statuses in seen.items()
        ]
        threads = [*readers, threading.Thread(target=write)]
        for thread in threads:
            thread.start()
        _wait_for(lambda: len(acknowledged) >= 3)
        seaweed.kill()
        before = {url: len(statuses) for url, statuses in seen.items()}
        _wait_for(lambda: all(len(statuses) >= before[url] + 20 for url, statuses in seen.items()))
        count = len(acknowledged)
        seaweed.start()
        _wait_for(lambda: len(acknowledged) >= count + 3)
        ended.set()
        for thread in threads:
            thread.join(SECONDS)
        assert {url: set(statuses) for url, statuses in seen.items()} == {PAGE: {200}, file: {200}}
        held = httpx2.get(f"{server.url}/api/sessions/{SESSION}", headers=server.auth).json()
        assert set(acknowledged) <= {each["filename"] for each in held["files"]}
        assert "x-armwheels-stale" not in httpx2.get(file).headers
    finally:
        stop(server)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 4 * SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
