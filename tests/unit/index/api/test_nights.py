"""Reports of nights and logs of builds: written once, read while they grow, shown to people."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.settings import Settings
from index_server.store.layout import is_object
from index_server.upkeep.trim import trim
from tests.helpers.stores import MemoryStore

NIGHT, OLDER = "20261128-030000-0a1b2c3d", "20261127-030000-0a1b2c3d"
BUILD = "demo-1.0-cp311-neoverse-v1"
ROW = {
    "build": BUILD,
    "outcome": "failed",
    "filename": None,
    "sha256": None,
    "detail": "gone.h: <no such file>",
    "size": 0,
    "size_before": None,
    "speed": None,
    "seconds": 3.0,
    "cpu_seconds": 2.0,
    "shared": 1,
    "compiled": 2,
    "attempts": 2,
    "hosts": ["one"],
}
BUILT = ROW | {
    "build": "demo-1.0-cp311-generic",
    "outcome": "built",
    "filename": "demo.whl",
    "size": 2_000_000,
    "size_before": 1_999_000,
    "speed": 0.98,
}
REPORT = {
    "matrix": "demo",
    "channel": "nightly",
    "snapshot": None,
    "sentence": "the channel stays",
    "seconds": 65.0,
    "before": OLDER,
    "rows": [ROW, BUILT],
}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def http(settings: Settings, store: MemoryStore) -> TestClient:
    client = TestClient(create_app(store, settings))
    client.headers["authorization"] = f"Bearer {make_token(store, 'night', None)}"
    return client


def part(number: int, attempt: int = 1, began: int = 1_790_000_000_000) -> str:
    return f"/api/logs/{BUILD}/{NIGHT}/{began:013d}-{attempt}-compile-{number:05d}"


def test_a_report_is_written_once(http: TestClient) -> None:
    assert http.put(f"/api/nights/{NIGHT}", json=REPORT).status_code == 201
    assert http.put(f"/api/nights/{NIGHT}", json={**REPORT, "matrix": "other"}).status_code == 200
    assert http.get(f"/api/nights/{NIGHT}").json() == REPORT
    http.put(f"/api/nights/{OLDER}", json=REPORT)
    assert http.get("/api/nights").json() == {"nights": [NIGHT, OLDER]}
    assert http.put("/api/nights/yesterday", json=REPORT).status_code == 400
    assert http.put(f"/api/nights/{NIGHT}", json=[]).status_code == 400
    assert http.get(f"/api/nights/{NIGHT[:-1]}0").status_code == 404


def test_its_page_shows_what_failed_first_and_escapes_it(http: TestClient) -> None:
    http.put(f"/api/nights/{NIGHT}", json=REPORT)
    page = http.get(f"/api/nights/{NIGHT}/page")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "1 of 2 wheels of matrix demo in 1 min 05 s" in page.text
    assert "gone.h: &lt;no such file&gt;" in page.text
    assert "2.0 MB (+1,000 bytes)" in page.text
    assert "at most 0.980 times" in page.text
    assert f'href="../../logs/{BUILD}/{NIGHT}"' in page.text
    assert re.search(rf'href="\.\./{OLDER}/page"', page.text)
    assert f"../{NIGHT}/page" in http.get("/api/nights/all/page").text


def test_a_report_of_another_form_is_linked(http: TestClient) -> None:
    http.put(f"/api/nights/{NIGHT}", json={"rows": "<b>"})
    page = http.get(f"/api/nights/{NIGHT}/page")
    assert page.status_code == 200
    assert "does not have the builder's form" in page.text
    assert "<b>" not in page.text


def test_a_log_is_read_while_it_grows(http: TestClient) -> None:
    assert http.get(f"/api/logs/{BUILD}").status_code == 404
    assert http.put(part(0), content=b"source\n").status_code == 201
    assert http.put(part(0), content=b"another\n").status_code == 200
    first = http.get(f"/api/logs/{BUILD}")
    assert first.text == "source\n"
    http.put(part(1), content="compile ü\n".encode())
    http.put(part(0, attempt=2, began=1_790_000_009_000), content=b"again\n")
    more = http.get(f"/api/logs/{BUILD}/{NIGHT}", params={"after": first.headers["x-armwheels-part"]})
    assert more.text == "compile ü\nagain\n"
    assert more.headers["content-type"] == "text/plain; charset=utf-8"
    assert http.get(f"/api/logs/{BUILD}/{OLDER}").status_code == 404


def test_a_log_shows_no_token(http: TestClient, store: MemoryStore) -> None:
    token = make_token(store, "other", None)
    http.put(part(0), content=f"remote={token}\n".encode())
    assert http.get(f"/api/logs/{BUILD}").text == "remote=awt_...\n"


def test_they_are_for_publishers_alone(settings: Settings, store: MemoryStore) -> None:
    client = TestClient(create_app(store, settings))
    for path in (f"/api/nights/{NIGHT}", part(0)):
        assert client.put(path, json={}).status_code == 401
        reader = {"authorization": f"Bearer {make_token(store, 'reader', None, ('read',))}"}
        assert client.put(path, json={}, headers=reader).status_code == 403


def test_old_logs_are_trimmed_and_reports_stay(http: TestClient, store: MemoryStore) -> None:
    http.put(part(0), content=b"source\n")
    http.put(f"/api/nights/{NIGHT}", json=REPORT)
    assert all(is_object(key) for key in store.objects if key.startswith(("logs/", "nights/")))
    later = datetime.now(UTC) + timedelta(days=91)
    assert trim(store, timedelta(days=90), later, prefix="logs/") == 1
    assert http.get(f"/api/logs/{BUILD}").status_code == 404
    assert http.get(f"/api/nights/{NIGHT}").status_code == 200
