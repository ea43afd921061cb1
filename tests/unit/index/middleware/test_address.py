"""Addresses, methods and answers: no answer repeats a token, and HEAD goes wherever GET goes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from index_server.access.tokens import make_token
from index_server.errors import NotFoundError
from index_server.secret import holds_token, redact
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from tests.helpers.wheels import make_wheel
from tests.unit.index.api.test_app import PURE, SESSION, Client

SIMPLE = "/nightly/generic/simple/pure-thing/"


@pytest.fixture
def client(make_store: Callable[[str], ObjectStore], settings: Settings) -> Client:
    return Client(make_store("memory"), settings)


def test_what_a_token_looks_like(make_store: Callable[[str], ObjectStore]) -> None:
    store = make_store("memory")
    for number in range(200):
        token = make_token(store, f"t{number}", None)
        assert holds_token(f"/a/{token}/b")
        assert token[8:] not in redact(f"{token} and {token}")
        assert str(NotFoundError(f"no {token}")) == "no awt_..."
    assert not holds_token("awt_some_project_with_a_name_of_fifty_characters_in_all-1-py3-none-any.whl")


@pytest.mark.parametrize("spell", ["{}", "Token {}", "bearer  x{}", "Basic {}", "{} {}"])
def test_authorization_is_not_repeated(client: Client, spell: str) -> None:
    header = spell.format(client.token, client.token)
    for method, path in (("POST", "/upload/"), ("DELETE", f"/api/sessions/{SESSION}")):
        answer = client.http.request(method, path, headers={"Authorization": header})
        assert answer.status_code in (401, 403)
        assert client.token not in answer.text + str(answer.headers)


@pytest.mark.parametrize("pair", ["{}:", "{}:x", "x:{}", "{0}:{0}"])
def test_the_user_of_basic_is_not_repeated(client: Client, pair: str) -> None:
    basic = base64.b64encode(pair.format(client.token).encode()).decode()
    answer = client.http.post("/upload/", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 401
    assert client.token not in answer.text
    assert basic not in answer.text
    assert "__token__" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/{}",
        "/nightly/generic/simple/{}/",
        "/nightly/armv8-a/simple/?token={}",
        "/nightly/armv8-a/simple/?{}",
        "/nightly/armv8-a/simple/?%61wt_{}",
        "/api/leases/{}",
        "/api/channels/{}",
        "/upload/?session={}",
        "/files/{}/x",
    ],
)
def test_an_address_with_a_token_is_refused(client: Client, path: str) -> None:
    token = client.token.removeprefix("awt_") if "%61" in path else client.token
    answer = client.http.get(path.format(token))
    assert answer.status_code == 400
    assert token not in answer.text + str(answer.headers)
    assert "revoke the token" in answer.text


def test_bodies_and_forms_do_not_repeat_a_token(client: Client) -> None:
    message = {"snapshot": "x", "expected_serial": 0, "nonce": "n" * 8, "message": f"by {client.token}"}
    answer = client.post("/api/channels/nightly/moves", message)
    assert answer.status_code == 400
    assert client.token not in answer.text
    answer = client.upload(PURE, make_wheel(PURE), version=client.token)
    assert answer.status_code == 400
    assert client.token not in answer.text


@pytest.mark.parametrize(
    "path", ["/healthz", "/api/channels", "/api/snapshots", "/openapi.json", "/api/none", SIMPLE]
)
def test_head_is_get_without_a_body(client: Client, path: str) -> None:
    client.publish((PURE, make_wheel(PURE)))
    get, head = client.http.get(path), client.http.head(path)
    assert head.status_code == get.status_code
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.content == b""


def test_if_match(client: Client) -> None:
    data = make_wheel(PURE)
    client.publish((PURE, data))
    for path in (SIMPLE, f"/files/{hashlib.sha256(data).hexdigest()}/{PURE}"):
        etag = client.get(path).headers["etag"]
        for header, status in (
            (etag, 200),
            ("*", 200),
            (f'"x", {etag}', 200),
            ('"x"', 412),
            (f"W/{etag}", 412),
        ):
            assert client.get(path, if_match=header).status_code == status
        assert client.get(path, if_match='"x"', if_none_match=etag).status_code == 412


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 405),
        (SIMPLE, 405),
        ("/nightly/", 405),
        ("/snapshots/x", 405),
        ("/legacy/", 404),
        ("/simple/", 404),
    ],
)
def test_pages_are_read_only_and_name_the_upload_address(
    client: Client, method: str, path: str, status: int
) -> None:
    answer = client.http.request(method, path)
    assert answer.status_code == status
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
    assert ("uploads go to http://testserver/upload/" in answer.text) == (method in ("POST", "PUT"))
