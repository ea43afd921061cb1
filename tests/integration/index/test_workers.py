"""A server of several processes: one socket, one store, and nothing that outlives it."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.helpers.servers import BIN, Server, clean_environment, run, start
from tests.helpers.wheels import make_wheel

pytestmark = pytest.mark.slow
SESSION = "s" * 22


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = start(tmp_path, ARMWHEELS_WORKERS="2")
    try:
        yield server
    finally:
        family = [server.process.pid, *(process.pid for process in _workers(server))]
        for process in filter(psutil.pid_exists, family):
            psutil.Process(process).kill()
        server.process.wait(30)


def _workers(server: Server) -> list[psutil.Process]:
    """The server processes, which multiprocessing started."""
    try:
        children = psutil.Process(server.process.pid).children()
        return [child for child in children if any("spawn_main" in part for part in child.cmdline())]
    except psutil.NoSuchProcess:  # or one that nobody has waited for yet
        return []


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.1)
    return true()  # the machine may have slept through the deadline


def _upload(server: Server, number: int) -> int:
    name = f"thing{number % 5}-{number}.0-py3-none-any.whl"
    data = make_wheel(name)
    return server.upload(SESSION, name, data, sha256_digest=hashlib.sha256(data).hexdigest()).status_code


def test_uploads_of_all_processes_are_in_one_snapshot(server: Server) -> None:
    assert len(_workers(server)) == 2
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda number: _upload(server, number), range(40))) == {200}
    server.publish(SESSION)
    pages = [httpx2.get(f"{server.url}/nightly/generic/simple/thing{number}/").text for number in range(5)]
    assert sum(page.count(">thing") for page in pages) == 40
    tags = {httpx2.get(f"{server.url}/nightly/generic/simple/thing0/").headers["etag"] for _ in range(10)}
    assert len(tags) == 1


def test_a_process_that_dies_is_replaced(server: Server) -> None:
    first = _workers(server)
    first[0].kill()
    assert _within(60, lambda: len(_workers(server)) == 2 and first[0] not in _workers(server))
    assert _within(60, lambda: httpx2.get(f"{server.url}/healthz").status_code == 200)
    assert _upload(server, 1) == 200


def test_sigterm_ends_all(server: Server) -> None:
    workers = _workers(server)
    server.process.terminate()
    assert server.process.wait(30) == 0
    assert not any(process.is_running() for process in workers)


def test_killed_the_server_leaves_no_process_and_a_free_port(server: Server) -> None:
    workers = _workers(server)
    server.process.kill()
    server.process.wait(30)
    assert _within(30, lambda: not any(process.is_running() for process in workers))
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{server.url}/healthz")


def test_a_fault_of_the_configuration_is_said_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [BIN / "armwheels-index", "serve", "--port", "0", "--workers", "2", "--root-path", "no path"],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.count("the root path 'no path' is not valid") == 1


def test_the_number_of_workers_is_a_number(server: Server) -> None:
    done = run(server, BIN / "armwheels-index", "serve", env={"ARMWHEELS_WORKERS": "many"})
    assert done.returncode == 2
    assert "--workers" in done.stderr
