"""Tokens: what each may do, until when, and how often."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from index_server.access.ratelimit import Buckets
from index_server.access.tokens import (
    DEFAULT_SCOPES,
    Publisher,
    authenticate,
    check_scopes,
    list_tokens,
    make_token,
    revoke_tokens,
)
from index_server.api.app import create_app
from index_server.errors import ConfigError, DamagedError, WrongTokenError
from index_server.policy import Policy
from index_server.settings import Settings
from tests.helpers.stores import MemoryStore
from tests.helpers.wheels import make_wheel, tuned_wheel

SESSION = "s" * 22
PURE = "pure_thing-1.0-py3-none-any.whl"
MOVE = {"snapshot": "20261123-1", "expected_serial": 0, "nonce": "n" * 8}
MARK = {"kind": "quarantine", "project": "demo", "reason": "bad", "nonce": "n" * 8}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def http(store: MemoryStore, settings: Settings) -> TestClient:
    return TestClient(create_app(store, settings), follow_redirects=False)


def bearer(store: MemoryStore, *scopes: str, name: str = "tests") -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(store, name, None, scopes)}"}


def upload(http: TestClient, headers: dict[str, str], name: str, data: bytes) -> int:
    form = {":action": "file_upload", "protocol_version": "1"}
    answer = http.post(
        f"/upload/?session={SESSION}", data=form, files={"content": (name, data)}, headers=headers
    )
    return answer.status_code


@pytest.mark.parametrize(
    ("scopes", "action", "subject", "allowed"),
    [
        (["upload:numpy"], "upload", "numpy", True),
        (["upload:numpy"], "upload", "numpy-quaddtype", False),
        (["upload:torch*"], "upload", "torchvision", True),
        (["move:nightly"], "move", "stable", False),
        (["move:*"], "move", "stable", True),
        (["upload:*", "move:*"], "evidence", "", False),
        (["evidence"], "evidence", "", True),
        (["yank"], "yank", "", True),
        (["admin"], "yank", "", True),
        (["admin"], "upload", "anything", True),
        (["read"], "evidence", "", False),
        (DEFAULT_SCOPES, "move", "nightly", True),
        (DEFAULT_SCOPES, "yank", "", False),
        (DEFAULT_SCOPES, "admin", "", False),
    ],
)
def test_what_a_scope_allows(scopes: list[str], action: str, subject: str, allowed: bool) -> None:
    assert Publisher("x", "0" * 64, tuple(scopes)).may(action, subject) is allowed


def test_scopes_are_normalised_and_wrong_ones_named() -> None:
    assert check_scopes(["upload:Pure_Thing", " evidence"]) == ("upload:pure-thing", "evidence")
    with pytest.raises(ConfigError) as caught:
        check_scopes(["upload", "write", "move:nightly", "admin:x"])
    assert "upload, write, admin:x" in str(caught.value)


@pytest.mark.parametrize(
    ("method", "path", "body", "right"),
    [
        ("PUT", f"/api/evidence/{'0' * 64}/audit", {}, "evidence"),
        ("PUT", f"/api/sessions/{SESSION}/files/{PURE}", None, "upload:pure-thing"),
        ("DELETE", f"/api/sessions/{SESSION}", None, "upload:x"),
        ("POST", "/api/snapshots", {"session": SESSION, "idempotency_key": "k" * 8}, "upload:x"),
        ("POST", "/api/channels/nightly/moves", MOVE, "move:nightly"),
        ("POST", "/api/approvals", {"channel": "stable", "snapshot": "x"}, "move:stable"),
        ("POST", "/api/status", MARK, "yank"),
    ],
)
def test_every_write_asks_for_its_scope(
    http: TestClient, store: MemoryStore, method: str, path: str, body: object, right: str
) -> None:
    for scope in ("read", "move:other", "upload:other"):
        if scope.split(":")[0] == right.split(":")[0]:
            continue
        answer = http.request(method, path, json=body, headers=bearer(store, scope))
        assert answer.status_code == 403, (scope, answer.text)
        assert "has no scope" in answer.json()["reasons"][0]
    for scope in (right, "admin"):
        answer = http.request(method, path, json=body, headers=bearer(store, scope))
        assert answer.status_code in (204, 404), answer.text


def test_uploads_are_bound_to_projects(http: TestClient, store: MemoryStore) -> None:
    name, data = tuned_wheel()
    assert upload(http, bearer(store, "upload:pure-thing"), name, data) == 403
    assert upload(http, bearer(store, "evidence"), name, data) == 403
    assert list(store.keys("files/")) == list(store.keys("records/")) == []
    assert upload(http, bearer(store, "upload:pure-thing"), PURE, make_wheel(PURE)) == 200
    assert upload(http, bearer(store, "upload:dem?"), name, data) == 200


def test_a_token_revoked_a_moment_ago_stores_nothing(http: TestClient, store: MemoryStore) -> None:
    headers = bearer(store, "upload:*")
    assert upload(http, headers, PURE, make_wheel(PURE)) == 200
    revoke_tokens(store, list_tokens(store)[-1].id)
    name, data = tuned_wheel()
    assert upload(http, headers, name, data) == 403
    assert [key for key in store.keys("records/") if name in key] == []


def test_tokens_are_listed_and_revoked(http: TestClient, store: MemoryStore) -> None:
    secret = make_token(store, "ann", 30, ["upload:numpy"])
    make_token(store, "bob", 0)
    again = make_token(store, "ann", None)
    assert [(each.name, each.state) for each in list_tokens(store)] == [
        ("ann", "valid"),
        ("bob", "expired"),
        ("ann", "valid"),
    ]
    assert authenticate(store, f"Bearer {secret}").scopes == ("upload:numpy",)
    one = list_tokens(store)[0]
    assert secret not in str(one)
    assert len(revoke_tokens(store, one.id)) == 1
    assert revoke_tokens(store, one.id) == []
    headers = {"Authorization": f"Bearer {secret}"}
    answer = http.post("/api/status", json=MARK, headers=headers)
    assert answer.status_code == 403
    assert "was revoked at" in answer.text
    assert authenticate(store, f"Bearer {again}").name == "ann"
    assert len(revoke_tokens(store, "ann")) == 1
    assert {each.state[:7] for each in list_tokens(store)} == {"revoked", "expired"}
    with pytest.raises(ConfigError, match="no token 'eve'"):
        revoke_tokens(store, "eve")


@pytest.mark.parametrize(
    ("name", "days", "reason"),
    [
        ("", None, "1 to 100 printable characters"),
        (" \u200b ", None, "1 to 100 printable characters"),
        ("a\nb", None, "1 to 100 printable characters"),
        ("\udcff", None, "1 to 100 printable characters"),
        ("a" * 101, None, "1 to 100 printable characters"),
        ("a", 36_501, "in 36500 days at most"),
        ("a", 10**30, "in 36500 days at most"),
        ("Armwheels-Index  mirror", None, "is the name of the mirror"),
    ],
)
def test_tokens_that_are_not_made(store: MemoryStore, name: str, days: int | None, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_token(store, name, days)
    assert store.objects == {}


def test_a_token_of_a_century(store: MemoryStore) -> None:
    make_token(store, "Zoë Müller " * 9, 36_500)
    assert [each.state for each in list_tokens(store)] == ["valid"]


def test_a_damaged_token_leaves_the_others_alone(store: MemoryStore) -> None:
    secrets = [make_token(store, name, None) for name in ("ann", "bob")]
    ann, bob = list_tokens(store)
    damaged = next(key for key in store.keys("tokens/") if ann.id in key)
    store.objects[damaged] = b""
    assert [(each.id, each.name, each.scopes, each.state) for each in list_tokens(store)] == [
        (ann.id, "", (), "damaged"),
        (bob.id, "bob", DEFAULT_SCOPES, "valid"),
    ]
    assert [each.id for each in revoke_tokens(store, "bob")] == [bob.id]
    assert [each.id for each in revoke_tokens(store, ann.id)] == [ann.id]
    assert revoke_tokens(store, ann.id) == []
    for secret in secrets:
        with pytest.raises(DamagedError if secret == secrets[0] else WrongTokenError):
            authenticate(store, f"Bearer {secret}")


def test_a_damaged_revocation_revokes(store: MemoryStore) -> None:
    secret = make_token(store, "ann", None)
    (ann,) = list_tokens(store)
    revoke_tokens(store, ann.id)
    (key,) = store.keys("revocations/")
    store.objects[key] = b""
    assert [each.state for each in list_tokens(store)] == ["revoked an unknown time"]
    with pytest.raises(WrongTokenError, match="was revoked at an unknown time"):
        authenticate(store, f"Bearer {secret}")


def test_reads_need_a_token_where_the_policy_says_so(store: MemoryStore, settings: Settings) -> None:
    http = TestClient(create_app(store, settings, Policy(reads_need_token=True)), follow_redirects=False)
    token = make_token(store, "reader", None, ["read"])
    basic = {"Authorization": "Basic " + base64.b64encode(f"__token__:{token}".encode()).decode()}
    assert upload(http, bearer(store, "upload:*"), PURE, make_wheel(PURE)) == 200
    staged = f"/staging/{SESSION}/simple/pure-thing/"
    for path in ("/", staged, "/nightly/generic/simple/", "/api/channels", "/api/status"):
        refused = http.get(path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert http.get(path, headers=basic).status_code == 200
        assert http.get(path, headers={"Authorization": "Bearer awt_wrong"}).status_code == 401
    url = http.get(staged, headers={**basic, "accept": "application/vnd.pypi.simple.v1+json"}).json()[
        "files"
    ][0]["url"]
    assert http.get(url).status_code == 401
    assert http.head(url).content == b""
    assert "private" in http.get(url, headers=basic).headers["cache-control"]
    assert http.get("/healthz").status_code == 200
    assert http.post("/api/status", json=MARK, headers=basic).status_code == 403


def test_uploads_are_slowed_by_token(store: MemoryStore, settings: Settings) -> None:
    policy = Policy(uploads_per_second=0.01, uploads_at_once=2)
    http = TestClient(create_app(store, settings, policy))
    busy = bearer(store, "upload:*")
    assert [upload(http, busy, PURE, make_wheel(PURE)) for _ in range(3)] == [200, 200, 429]
    answer = http.post("/upload/", headers=busy)
    assert answer.status_code == 429
    assert 90 <= int(answer.headers["retry-after"]) <= 100
    assert upload(http, bearer(store, "upload:*"), PURE, make_wheel(PURE)) == 200


@given(
    st.floats(0.1, 10),
    st.integers(1, 5),
    st.lists(st.floats(0, 3), max_size=40),
)
def test_a_bucket_never_gives_more_than_it_may(rate: float, burst: int, pauses: list[float]) -> None:
    clock = [0.0]
    buckets = Buckets(rate, burst, lambda: clock[0])
    for granted, pause in enumerate(pauses, 1):
        clock[0] += pause
        wait = buckets.take("x")
        if wait:
            assert 0 < wait <= 1 / rate + 1e-9
            clock[0] += wait + 1e-9
            assert buckets.take("x") == 0.0
        assert granted <= burst + rate * clock[0] + 1e-6
