"""A store that accepts connections and says nothing: an answer within seconds, and all fresh once it speaks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from scripts.seaweed import KEYS, Seaweed
from tests.helpers.servers import BIN, Server, clean_environment, start, stop
from tests.helpers.wheels import make_wheel

SESSION = "s" * 22
PURE = "pure_thing-1.0-py3-none-any.whl"
PAGE = "/nightly/generic/simple/pure-thing/"
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
