"""Servers that share a store, die in the middle, and are resumed from."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from index_server.pages.negotiation import JSON
from tests.helpers.servers import BIN, Server, start, stop
from tests.helpers.wheels import make_wheel

pytestmark = pytest.mark.slow
PURE = "pure_thing-1.0-py3-none-any.whl"
SESSION = "s" * 22


def upload(server: Server, name: str, data: bytes) -> httpx2.Response:
    return server.upload(SESSION, name, data, sha256_digest=hashlib.sha256(data).hexdigest())


def page(server: Server, path: str) -> httpx2.Response:
    return httpx2.get(f"{server.url}{path}", headers={"Accept": JSON})


def test_two_servers_on_one_store(server: Server, second: Server) -> None:
    path = "/nightly/generic/simple/pure-thing/"
    for number, (writer, reader) in enumerate(((server, second), (second, server), (server, second)), 1):
        name = f"pure_thing-{number}.0-py3-none-any.whl"
        assert upload(writer, name, make_wheel(name)).status_code == 200
        writer.publish(SESSION, f"key-{number}")
        for each in (writer, reader):
            assert page(each, path).json()["versions"][-1] == f"{number}.0"
        assert page(writer, path).headers["etag"] == page(reader, path).headers["etag"]


def test_an_interrupted_download_resumes(server: Server) -> None:
    data = make_wheel(PURE, files={"pure_thing/data": os.urandom(3 << 20)})
    assert upload(server, PURE, data).status_code == 200
    file = page(server, f"/staging/{SESSION}/simple/pure-thing/").json()["files"][0]
    address = urljoin(f"{server.url}/", file["url"])
    with httpx2.stream("GET", address) as answer:
        etag = answer.headers["etag"]
        begun = next(answer.iter_raw(100_000))
    rest = httpx2.get(address, headers={"Range": f"bytes={len(begun)}-", "If-Range": etag})
    assert rest.status_code == 206
    assert begun + rest.content == data


def begin_upload(server: Server, data: bytes) -> socket.socket:
    """Send all of an upload but its end."""
    address = urlsplit(server.url)
    head = (
        '--b\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n'
        f'--b\r\nContent-Disposition: form-data; name="content"; filename="{PURE}"\r\n\r\n'
    ).encode()
    body = head + data + b"\r\n--b--\r\n"
    request = (
        f"POST /upload/?session={SESSION} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    ).encode()
    connection = socket.create_connection((str(address.hostname), address.port or 80))
    connection.sendall(request + body[:-1000])
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size for path in server.stored(".tmp")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return connection


def test_an_upload_cut_off_leaves_nothing(server: Server) -> None:
    data = make_wheel(PURE, files={"pure_thing/data": os.urandom(3 << 20)})
    begin_upload(server, data).close()
    deadline = time.monotonic() + 30
    while server.stored(".tmp"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.stored("files") == server.stored("records") == []


def test_a_server_killed_in_the_middle_of_an_upload(server: Server, tmp_path: Path) -> None:
    data = make_wheel(PURE, files={"pure_thing/data": os.urandom(3 << 20)})
    with begin_upload(server, data):
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(30)
    assert len(server.stored(".tmp")) == 1
    assert server.stored("files") == server.stored("records") == server.stored("sessions") == []
    again = start(tmp_path)
    assert server.stored(".tmp") == []
    assert upload(again, PURE, data).status_code == 200
    again.publish(SESSION)
    checked = subprocess.run(
        [BIN / "armwheels-index", "check", "--deep"], env=again.environment, check=False, capture_output=True
    )
    assert checked.returncode == 0
    stop(again)


def test_a_large_upload_is_not_held_in_memory(server: Server) -> None:
    data = make_wheel(PURE, files={"pure_thing/data": os.urandom(1 << 20) * 96})
    assert upload(server, PURE, data).status_code == 200
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 150 << 10  # KiB
