"""The whole server over a folder and over a real S3 server: clients, full disks, a store that dies, memory."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from builder.index.client import Index
from index_server.settings import ROOT
from index_server.store.bucket import PAUSE
from scripts.seaweed import Seaweed
from tests.helpers.clients import PURE, twine, uv_publish, write
from tests.helpers.servers import BIN, Server, run, start, stop
from tests.helpers.wheels import make_wheel

pytestmark = pytest.mark.slow
SESSION = "s" * 22
MEMORY = 150 << 10  # KiB


@pytest.fixture
def seaweed(tmp_path: Path) -> Iterator[Seaweed]:
    running = Seaweed(tmp_path / "seaweed")
    running.start()
    yield running
    running.kill()


@pytest.fixture(params=["directory", "seaweed"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    there = request.getfixturevalue("seaweed").environment("live") if request.param == "seaweed" else {}
    running = start(tmp_path, **there)
    yield running
    stop(running)


@pytest.fixture
def on_s3(seaweed: Seaweed, tmp_path: Path) -> Iterator[Server]:
    running = start(tmp_path, **seaweed.environment("live"))
    yield running
    stop(running)


def checked(server: Server) -> str:
    """What ``armwheels-index check --deep`` says; the store must be whole."""
    done = run(server, BIN / "armwheels-index", "check", "--deep")
    assert done.returncode == 0, done.stderr
    return done.stdout


def held(server: Server) -> list[str]:
    """The files of the session, empty where there is no such session."""
    answer = httpx2.get(f"{server.url}/api/sessions/{SESSION}")
    return [file["filename"] for file in answer.json()["files"]] if answer.status_code == 200 else []


def test_what_twine_and_uv_are_told(server: Server, tmp_path: Path) -> None:
    files = write(tmp_path / "dist", (PURE, make_wheel(PURE)))
    query = f"?session={SESSION}"
    for _ in range(2):  # new, then the same again
        code, text = twine(server, *files, query=query)
        assert code == 0, text
        code, text = uv_publish(server, *files)
        assert code == 0, text
    other = make_wheel(PURE, files={"pure_thing/more.py": b""})
    [changed] = write(tmp_path / "other", (PURE, other))
    for code, text in (twine(server, changed, query=query), uv_publish(server, changed)):
        assert code != 0
        assert "already exists with other bytes" in text or "Local file and index file do not match" in text
    fresh = write(tmp_path / "dist", ("fresh-1.0-py3-none-any.whl", make_wheel("fresh-1.0-py3-none-any.whl")))
    for code, text in (
        twine(server, *fresh, token="awt_wrong"),
        uv_publish(server, *fresh, token="awt_wrong"),
    ):
        assert code != 0
        assert "unknown here" in text
    assert held(server) == [PURE]
    file = httpx2.get(f"{server.url}/staging/{SESSION}/simple/pure-thing/").text
    url = urljoin(f"{server.url}/", file.partition('href="')[2].partition("#")[0])
    whole = httpx2.get(url)
    assert hashlib.sha256(whole.content).hexdigest() in url
    part = httpx2.get(url, headers={"Range": "bytes=-7", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[-7:])
    assert httpx2.head(url).headers["content-length"] == str(len(whole.content))
    checked(server)


def test_an_upload_that_fails_leaves_nothing_stored(server: Server) -> None:
    data = make_wheel(PURE, files={"pure_thing/data": os.urandom(2 << 20)})
    wrong = server.upload(SESSION, PURE, data, sha256_digest="0" * 64)
    assert (wrong.status_code, "the bytes that arrived have" in wrong.text) == (400, True)
    cut = server.upload(SESSION, PURE, data[:-1000])
    assert cut.status_code == 400
    body = b'--b\r\nContent-Disposition: form-data; name="content"; filename="a.whl"\r\n\r\n' + data[:100_000]
    headers = {**server.auth, "Content-Type": "multipart/form-data; boundary=b"}
    short = httpx2.post(f"{server.url}/upload/?session={SESSION}", content=body, headers=headers)
    assert (short.status_code, "it was cut off" in short.text) == (400, True)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    full = server.upload(SESSION, PURE, data)
    assert (full.status_code, "no space left" in full.text) == (507, True)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert held(server) == []
    assert server.upload(SESSION, PURE, data).status_code == 200
    assert held(server) == [PURE]


def test_a_store_that_dies_while_uploads_run(seaweed: Seaweed, on_s3: Server, tmp_path: Path) -> None:
    """What was acknowledged is there, and the client goes on by itself."""
    server = on_s3
    names = [f"pure_thing-{number}.0-py3-none-any.whl" for number in range(40)]
    wheels = write(tmp_path / "dist", *((name, make_wheel(name)) for name in names))
    acknowledged: list[str] = []

    def publish() -> None:
        with Index(server.url, server.token) as index:
            for wheel in wheels:
                index.upload(wheel, SESSION)
                acknowledged.append(wheel.name)
            made = index.make_snapshot(SESSION, index.channel("nightly"))
            index.move("nightly", made.id, 0, "the store died")

    client = threading.Thread(target=publish)
    client.start()
    for already in (5, 20):
        while len(acknowledged) < already:
            assert client.is_alive()
            time.sleep(0.01)
        seaweed.kill()
        seaweed.start()
    client.join(120)
    assert acknowledged == names
    shown = httpx2.get(f"{server.url}/nightly/generic/simple/pure-thing/").text
    assert all(name in shown for name in names)
    assert f"with {len(names)} files" in checked(server)


def test_while_the_store_is_away(seaweed: Seaweed, on_s3: Server) -> None:
    server = on_s3
    assert server.upload(SESSION, PURE, make_wheel(PURE)).status_code == 200
    snapshot = server.publish(SESSION)
    seaweed.kill()
    for path in ("/", f"/snapshots/{snapshot}/generic/simple/pure-thing/", "/api/channels", "/healthz"):
        answer = httpx2.get(f"{server.url}{path}", timeout=60)
        assert (path, answer.status_code, answer.headers["retry-after"]) == (path, 503, "5")
        assert seaweed.endpoint not in answer.text
    refused = server.upload(SESSION, PURE, make_wheel(PURE))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "cannot reach its store now" in refused.text
    seaweed.start()
    time.sleep(2 * PAUSE)  # a store that just failed is left alone for a moment
    assert httpx2.get(f"{server.url}/healthz", timeout=60).json()["serials"]["nightly"] == 1


def test_a_large_wheel_in_bounded_memory(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench_store.py", "--url", server.url, "--mib", "200",
         "--pid", str(server.process.pid)],
        env={**server.environment, "ARMWHEELS_TOKEN": server.token, "TMPDIR": str(tmp_path)},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peak_kib"] < MEMORY
