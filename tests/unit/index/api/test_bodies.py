"""JSON bodies of the API: the token first, then limits, then the contract."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from index_server.api import bodies
from index_server.api.bodies import BODY, DEPTH, EVIDENCE, MANY_NAMES, VALUES, parse_json
from index_server.errors import MalformedError
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from tests.helpers.wheels import make_wheel
from tests.unit.index.api.test_app import PURE, SESSION, Client

WRITES = [
    ("POST", "/api/snapshots"),
    ("POST", "/api/channels/nightly/moves"),
    ("POST", "/api/approvals"),
    ("POST", "/api/status"),
    ("PUT", "/api/leases/kept"),
    ("PUT", f"/api/evidence/{'0' * 64}/audit"),
    ("PUT", "/api/cache/" + "a" * 30),
    ("PUT", "/api/nights/20261128-030000-0a1b2c3d"),
    ("PUT", "/api/logs/demo/20261128-030000-0a1b2c3d/1790000000000-1-compile-00000"),
    ("PUT", f"/api/sessions/{SESSION}/files/{PURE}"),
    ("DELETE", f"/api/sessions/{SESSION}"),
    ("DELETE", "/api/leases/kept"),
    ("DELETE", "/api/cache/" + "a" * 30),
    ("POST", "/upload/"),
]


@pytest.fixture
def client(make_store: Callable[[str], ObjectStore], settings: Settings) -> Client:
    return Client(make_store("memory"), settings)


def test_every_route_that_writes_is_listed_here(client: Client) -> None:
    paths = client.json("/openapi.json")["paths"]
    writes = [method for methods in paths.values() for method in methods if method not in ("get", "head")]
    assert len(writes) == len(WRITES)


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_no_body_is_parsed_before_the_token(
    client: Client, method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "parse_json", lambda _: pytest.fail("parsed"))
    answer = client.http.request(
        method, path, content=b"[" * 1000, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/api/snapshots", BODY),
        ("PUT", "/api/leases/kept", MANY_NAMES),
        ("PUT", f"/api/evidence/{'0' * 64}/audit", EVIDENCE),
    ],
)
def test_each_route_has_a_limit(client: Client, method: str, path: str, limit: int) -> None:
    headers = {**client.auth, "content-type": "application/json"}
    pieces = iter([b'{"x": "', b"y" * limit, b'"}'])
    assert client.http.request(method, path, content=pieces, headers=headers).status_code == 413
    answer = client.http.request(
        method, path, content=b'{"x": "' + b"y" * (limit - 9) + b'"}', headers=headers
    )
    assert answer.status_code == (404 if "evidence" in path else 400)


def test_depth_and_number_of_values() -> None:
    assert parse_json(b"[" * DEPTH + b"]" * DEPTH)
    assert parse_json(b'{"a":' * DEPTH + b"1" + b"}" * DEPTH)
    assert parse_json(b"1") == 1
    with pytest.raises(MalformedError, match="deeper"):
        parse_json(b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1))
    with pytest.raises(MalformedError, match="not JSON"):
        parse_json(b"[" * 5000 + b"]" * 5000)
    assert len(parse_json(b"[" + b"1," * (VALUES - 2) + b"1]")) == VALUES - 1
    with pytest.raises(MalformedError, match="values"):
        parse_json(b"[" + b"1," * VALUES + b"1]")
    assert parse_json(b'["' + b',\\"[' * VALUES + b'"]')


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b'"\\ud800"', b"NaN"])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(MalformedError, match="not JSON"):
        parse_json(body)


def evidence(client: Client, body: bytes) -> int:
    sha256 = hashlib.sha256(make_wheel(PURE)).hexdigest()
    status: int = client.http.put(
        f"/api/evidence/{sha256}/audit", content=body, headers=client.auth
    ).status_code
    return status


def test_evidence_that_is_taken_can_be_read_and_replaced(client: Client) -> None:
    assert client.upload(PURE, make_wheel(PURE)).status_code == 200
    address = f"/api/evidence/{hashlib.sha256(make_wheel(PURE)).hexdigest()}/audit"
    deepest = b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    assert evidence(client, deepest) == 200
    assert client.get(address).content == deepest
    assert evidence(client, b'{"a":' + deepest + b"}") == 400
    assert evidence(client, b'{"passed":true}') == 200
    assert client.json(address) == {"passed": True}


@pytest.mark.parametrize("passed", [b"1", b'"true"', b"null", b"[true]"])
def test_a_verdict_is_true_or_false(client: Client, passed: bytes) -> None:
    assert client.upload(PURE, make_wheel(PURE)).status_code == 200
    assert evidence(client, b'{"passed":' + passed + b"}") == 400


def test_evidence_that_only_python_calls_equal_is_new(client: Client) -> None:
    assert client.upload(PURE, make_wheel(PURE)).status_code == 200
    address = f"/api/evidence/{hashlib.sha256(make_wheel(PURE)).hexdigest()}/audit"
    for body in (b'{"a":true}', b'{"a":1}', b'{"a":1.0}'):
        assert evidence(client, body) == 200
        assert client.get(address).content == body
