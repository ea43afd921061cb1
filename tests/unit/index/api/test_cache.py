"""The compile cache: for builders alone, replaced by fuller ones, trimmed by age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.api.bodies import OBJECT
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from index_server.upkeep.trim import trim
from tests.helpers.stores import MemoryStore

KEY = "0d4k" * 12


@pytest.fixture
def http(settings: Settings) -> TestClient:
    store = MemoryStore()
    token = make_token(store, "builder", None, ("cache",))
    client = TestClient(create_app(store, settings))
    client.headers["authorization"] = f"Bearer {token}"
    return client


def test_what_was_put_is_got_and_stays(http: TestClient) -> None:
    assert http.get(f"/api/cache/{KEY}").status_code == 404
    assert http.head(f"/api/cache/{KEY}").status_code == 404
    assert http.put(f"/api/cache/{KEY}", content=b"object").status_code == 201
    assert http.put(f"/api/cache/{KEY}", content=b"a fuller one").status_code == 201
    assert http.get(f"/api/cache/{KEY}").content == b"a fuller one"
    assert http.head(f"/api/cache/{KEY}").status_code == 200
    assert http.delete(f"/api/cache/{KEY}").status_code == 204
    assert http.get(f"/api/cache/{KEY}").status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_it_is_for_builders_alone(settings: Settings, method: str) -> None:
    store = MemoryStore()
    client = TestClient(create_app(store, settings))
    assert client.request(method, f"/api/cache/{KEY}").status_code == 401
    publisher = make_token(store, "publisher", None)
    headers = {"authorization": f"Bearer {publisher}"}
    assert client.request(method, f"/api/cache/{KEY}", headers=headers).status_code == 403


@pytest.mark.parametrize("key", ["short", "UPPER" * 8, "a" * 129, "..%2F..%2Ffiles%2F" + "a" * 30])
def test_other_keys_are_refused(http: TestClient, key: str) -> None:
    assert http.put(f"/api/cache/{key}", content=b"x").status_code in (400, 404, 405)


def test_an_object_has_a_limit(http: TestClient) -> None:
    assert http.put(f"/api/cache/{KEY}", content=bytes(OBJECT + 1)).status_code == 413


def test_the_old_goes_and_the_new_stays(store: ObjectStore) -> None:
    store.create(f"cache/0d/{KEY}", b"object")
    store.create("files/" + "a" * 64 + "/demo-1.0-py3-none-any.whl", b"wheel")
    now = datetime.now(UTC)
    assert trim(store, timedelta(days=30), now) == 0
    assert trim(store, timedelta(days=30), now + timedelta(days=31)) == 1
    assert list(store.keys("cache/")) == []
    assert len(list(store.keys("files/"))) == 1
