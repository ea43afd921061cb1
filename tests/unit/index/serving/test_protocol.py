"""Connections of the HTTP server: limits of the header, deadlines, and how many there may be."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from starlette.types import Receive, Scope, Send

from index_server.limits import SPARE, Limits
from tests.helpers.connections import Running, read_all, serving

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n"
LIMITS = Limits(header_bytes=4096, header_fields=20, header_seconds=0.3, keep_alive=60, send_seconds=60)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the header fields; ``/read`` reads the body first, ``/large`` sends 64 MiB."""
    if scope["type"] != "http":
        return
    body = b"".join(name + b": " + value + b"\n" for name, value in scope["headers"])
    if scope["path"] == "/read":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/large":
        body = bytes(64 << 20)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def read_answer(client: socket.socket) -> bytes:
    """One answer of :func:`app` to :data:`GET`."""
    got = b""
    while not got.endswith(b"host: here\n"):
        got += client.recv(65536)
    return got


def sent(client: socket.socket, data: bytes) -> bool:
    """Send, unless the server has closed the connection."""
    try:
        client.sendall(data)
    except ConnectionError:
        return False
    return True


def closes(client: socket.socket) -> bool:
    """Whether the server closes the connection before the client's own timeout."""
    try:
        read_all(client)
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(app, LIMITS) as server:
        yield server


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: a_b.example:80\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: u@b\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ],
)
def test_host_and_syntax(running: Running, request_bytes: bytes, status: int) -> None:
    assert running.status(request_bytes) == status


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000,  # no end
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 20 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 100_000,  # more than one read
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 5000,
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 5000,
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 30,
    ],
    ids=["url", "value", "unended value", "fields", "many fields", "chunk extension", "trailer", "trailers"],
)
def test_a_header_too_large_is_431(
    running: Running, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert running.status(request_bytes) == 431
    assert caplog.records == []  # no fault of ours that the loop caught


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000 + b"\r\n\r\n", 431),
    ],
)
def test_faults_of_clients_are_not_logged(
    request_bytes: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise anybody could fill the disk of the log."""
    with serving(app, LIMITS, log_level="warning") as server:
        assert server.status(request_bytes) == status
    assert caplog.records == []


def test_limits_are_of_each_request(running: Running) -> None:
    body = bytes(1 << 20)
    post = (
        b"POST /read HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 3000 + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    answers = running.ask((post + body + GET) * 3)
    assert answers.count(b"HTTP/1.1 200") == 6
    assert len(answers.split(b"HTTP/1.1 ")) == 7


def test_trailers_are_no_header_fields(running: Running) -> None:
    head = b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = running.ask(head + b"2\r\n{}\r\n0\r\nAuthorization: secret\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding: chunked" in answer
    assert b"secret" not in answer


@pytest.mark.parametrize(
    "begin",
    [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", GET + b"GET /", POST[:-2]],
    ids=["silent", "empty lines", "half a header", "half of the next", "no end"],
)
def test_a_header_has_a_deadline(running: Running, begin: bytes) -> None:
    with running.connect(begin) as client:
        assert closes(client)


def test_drops_of_a_header_do_not_extend_its_deadline(running: Running) -> None:
    with running.connect(b"GET / HTTP/1.1\r\nHost: a\r\nX: ") as client:
        until(lambda: not sent(client, b"a"))


def test_a_body_nobody_reads_has_a_deadline(running: Running) -> None:
    with running.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab") as client:
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_a_refusal_is_read_while_the_body_is_being_sent(running: Running) -> None:
    size = 8 << 20
    with running.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size) as client:
        for _ in range(size >> 20):
            client.sendall(bytes(1 << 20))
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).count(b"HTTP/1.1 200") == 2


def test_an_idle_connection_is_kept_longer_than_a_header_may_take(running: Running) -> None:
    with running.connect(GET) as client:
        assert read_answer(client).startswith(b"HTTP/1.1 200")
        time.sleep(2 * LIMITS.header_seconds)
        client.sendall(GET)
        assert read_answer(client).startswith(b"HTTP/1.1 200")
        client.sendall(b"\r\n")  # from here on a header is owed
        assert closes(client)


def test_an_idle_connection_is_closed() -> None:
    with serving(app, replace(LIMITS, keep_alive=0.1)) as short, short.connect(GET) as client:
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_a_reader_that_takes_nothing_is_closed() -> None:
    with (
        serving(app, replace(LIMITS, send_seconds=1)) as short,
        short.connect(GET.replace(b"/", b"/large", 1)),
    ):
        until(lambda: len(short.server.server_state.connections) == 1)
        until(lambda: not short.server.server_state.connections)


def test_quiet_connections_give_way_to_new_ones() -> None:
    patient = replace(LIMITS, connections=4, header_seconds=60)
    with serving(app, patient) as small:
        clients = [small.connect(GET[:-2]) for _ in range(20)]
        for _ in range(3):
            assert small.status(GET) == 200
        assert all(closes(client) for client in clients[:16])
        assert len(small.server.server_state.connections) <= 4
        for client in clients:
            client.close()


def test_beyond_the_limit_there_is_health_alone() -> None:
    patient = replace(LIMITS, connections=4, header_seconds=60)
    with serving(app, patient) as small:
        clients = [small.connect(POST) for _ in range(4)]
        until(lambda: len(small.server.server_state.tasks) == 4)
        assert small.status(GET) == 503
        assert small.status(GET.replace(b"/", b"/healthz", 1)) == 200
        clients += [small.connect() for _ in range(SPARE)]
        with small.connect(GET) as client:
            assert closes(client)
        clients[0].sendall(b"12345")
        assert clients[0].recv(100).startswith(b"HTTP/1.1 200")
        for client in clients:
            client.close()
