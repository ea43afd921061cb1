"""Requests that are byte for byte ones that were answered before."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson
import pytest
from starlette.types import Receive, Send

from index_server.access import tokens
from index_server.access.tokens import make_token, revoke_tokens
from index_server.api import app as app_module
from index_server.api.app import create_app
from index_server.extensions import Client, Scope, offer_again
from index_server.limits import Limits
from index_server.policy import Policy
from index_server.serving.repeats import LONGEST, Repeat, Repeats
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from tests.helpers.connections import Running, read_message, serving
from tests.helpers.wheels import make_wheel
from tests.unit.index.api import test_app

MakeStore = Callable[[str], ObjectStore]
LIMITS = Limits(keep_alive=60, send_seconds=60)
GET = b"GET /page HTTP/1.1\r\nHost: here\r\nAccept: text/html\r\n\r\n"


@dataclass
class App:
    """Counts the requests that reach it. Its answers hold while ``right``."""

    right: bool = True
    asked: int = 0
    clients: list[Client] = field(default_factory=list)
    status: int = 200

    def holds(self, client: Client) -> bool:
        self.clients.append(client)
        return self.right

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.asked += 1
        if scope["path"] == "/page":
            offer_again(scope, self.holds)
        body = b"" if scope["method"] == "HEAD" or self.status == 304 else f"answer {self.asked}\n".encode()
        headers = [(b"x-number", str(self.asked).encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def running(app: App) -> Iterator[Running]:
    with serving(app, LIMITS) as server:
        yield server


def answers(running: Running, *requests: bytes) -> list[bytes]:
    """The bodies of the answers to requests over one connection, each sent once the one before is answered."""
    found = []
    with running.connect() as client:
        for each in requests:
            client.sendall(each)
            found.append(read_message(client)[2].strip())
    return found


def test_the_same_bytes_are_answered_without_the_application(running: Running, app: App) -> None:
    assert answers(running, GET, GET, GET) == [b"answer 1"] * 3
    assert answers(running, GET) == [b"answer 1"]
    assert app.asked == 1
    assert all(client is not None and client[0] == "127.0.0.1" for client in app.clients)
    assert len(set(app.clients)) == 2  # each is asked about with its own address


def test_it_has_the_same_header_and_a_date(running: Running) -> None:
    first, second = (running.get(GET)[1] for _ in range(2))
    assert re.search(rb"\r\ndate: \w{3}, ", second)
    shown = re.compile(rb"date: [^\r]*")
    assert shown.sub(b"", first) == shown.sub(b"", second)


@pytest.mark.parametrize(
    "other",
    [
        GET.replace(b"text/html", b"text/HTML"),
        GET.replace(b"Host: here", b"Host: there"),
        GET.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n"),
        GET.replace(b"/page", b"/page?"),
    ],
)
def test_other_bytes_reach_the_application(running: Running, app: App, other: bytes) -> None:
    assert answers(running, GET, other, GET, other) == [b"answer 1", b"answer 2"] * 2


def test_an_answer_that_holds_no_more_is_not_sent(running: Running, app: App) -> None:
    assert answers(running, GET, GET) == [b"answer 1"] * 2
    app.right = False
    assert answers(running, GET) == [b"answer 2"]
    app.right = True
    assert answers(running, GET) == [b"answer 2"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET.replace(b"/page", b"/other"),  # not offered
        GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"),
        GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nhi"),
        GET.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"x" * LONGEST + b"\r\n\r\n"),
    ],
)
def test_what_is_never_repeated(running: Running, app: App, request_bytes: bytes) -> None:
    assert answers(running, request_bytes, request_bytes) == [b"answer 1", b"answer 2"]


def test_a_connection_that_closes_is_not_repeated_on_another(running: Running, app: App) -> None:
    closing = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert [b"connection: close" in running.get(closing)[1] for _ in range(2)] == [True, True]
    assert app.asked == 2


def test_requests_in_pieces_and_in_one_piece(running: Running, app: App) -> None:
    for _ in range(2):
        with running.connect(GET + GET) as client:
            assert [read_message(client)[0] for _ in range(2)] == [200, 200]
    assert app.asked == 4  # two requests are no whole request
    with running.connect(GET[:20]) as client:
        time.sleep(0.05)
        client.sendall(GET[20:])
        assert read_message(client)[2] == b"answer 5\n"
    assert answers(running, GET, GET) == [b"answer 6"] * 2


def test_304_has_no_body(running: Running, app: App) -> None:
    app.status = 304
    for _ in range(2):
        with running.connect(GET) as client:
            status, head, body = read_message(client)
            assert (status, body) == (304, b"")
            assert head.endswith(b"\r\n\r\n")
            client.sendall(GET.replace(b"/page", b"/other"))
            assert read_message(client)[0] == 304  # nothing was left between the answers
    assert app.asked == 3


def test_the_oldest_are_dropped() -> None:
    repeats = Repeats(limit=4000)
    for number in range(10):
        repeats._keep(b"%d" % number, Repeat(lambda _: True, 200, b"", b""))
    assert [number for number in range(10) if repeats.find(b"%d" % number, None)] == [7, 8, 9]
    repeats._keep(b"large", Repeat(lambda _: True, 200, b"", b"x" * 4000))
    assert repeats.find(b"large", None) is None
    assert repeats._weight == 0


# The index behind it

PAGE = b"GET /nightly/generic/simple/pure-thing/ HTTP/1.1\r\nHost: here\r\nAccept: text/html\r\n\r\n"


def test_a_page_is_repeated_until_the_channel_moves(make_store: MakeStore, settings: Settings) -> None:
    store = make_store("directory")
    publisher = test_app.Client(store, settings)
    publisher.publish((test_app.PURE, make_wheel(test_app.PURE)))
    with serving(create_app(store, settings), LIMITS) as running:
        first, second, third = (running.get(PAGE)[2] for _ in range(3))
        assert first == second == third != b""
        newer = "pure_thing-2.0-py3-none-any.whl"
        publisher.publish((newer, make_wheel(newer)), session="t" * 22, key="another-key")
        assert newer.encode() in running.get(PAGE)[2]
        yank = {"kind": "yank", "filename": newer, "reason": "too new", "nonce": "a" * 22}
        publisher.auth = {"Authorization": f"Bearer {make_token(store, 'warden', None, ['yank'])}"}
        assert publisher.post("/api/status", yank).status_code == 201
        assert b"too new" in running.get(PAGE)[2]


def test_a_network_store_is_asked_once_in_a_while(make_store: MakeStore, settings: Settings) -> None:
    store = make_store("memory")
    publisher = test_app.Client(store, settings)
    publisher.publish((test_app.PURE, make_wheel(test_app.PURE)))
    store.look_every = 0.5  # type: ignore[misc]  # as a bucket has it
    with serving(create_app(store, settings), LIMITS) as running:
        assert len({running.get(PAGE)[2] for _ in range(3)}) == 1
        newer = "pure_thing-2.0-py3-none-any.whl"
        publisher.publish((newer, make_wheel(newer)), session="t" * 22, key="another-key")
        time.sleep(0.6)
        assert newer.encode() in running.get(PAGE)[2]


def test_a_revoked_token_reads_no_page_again(
    make_store: MakeStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_READ_AGAIN", 0.2)  # seconds for which a token is not checked again
    store = make_store("directory")
    publisher = test_app.Client(store, settings)
    publisher.publish((test_app.PURE, make_wheel(test_app.PURE)))
    token = make_token(store, "reader", None, ["read"])
    asked = PAGE.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    with serving(create_app(store, settings, Policy(reads_need_token=True)), LIMITS) as running:
        assert [running.get(asked)[0] for _ in range(3)] == [200] * 3
        assert running.get(PAGE)[0] == 401
        revoke_tokens(store, "reader")
        time.sleep(0.3)
        assert running.get(asked)[0] == 401


def test_repetitions_are_counted_and_logged(
    make_store: MakeStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store("directory")
    publisher = test_app.Client(store, settings)
    publisher.publish((test_app.PURE, make_wheel(test_app.PURE)))
    lines: list[dict[str, object]] = []
    monkeypatch.setattr(app_module, "to_standard_output", lambda line: lines.append(orjson.loads(line)))
    policy = Policy(access_log=True, metrics_are_open=True)
    with serving(create_app(store, settings, policy), LIMITS) as running:
        sizes = [len(running.get(PAGE)[2]) for _ in range(3)]
        told = running.get(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")[2].decode()
    assert 'armwheels_requests_total{kind="page",method="GET",status="200"} 3.0' in told
    assert f'armwheels_sent_bytes_total{{kind="page"}} {float(sum(sizes))}' in told
    assert 'armwheels_request_seconds_count{kind="page"} 3.0' in told
    assert [(line["status"], line["bytes"]) for line in lines] == [(200, size) for size in sizes]
    assert all(line["client"] == "127.0.0.1" and line["path"] == PAGE.split()[1].decode() for line in lines)
