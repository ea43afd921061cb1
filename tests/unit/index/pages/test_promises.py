"""What readers learn of retention: on pages, by leases, and by a file that is gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.catalog.catalog import Catalog
from index_server.pages import promises
from index_server.pages.negotiation import JSON
from index_server.policy import Policy
from index_server.rules.retention import Terms
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from index_server.upkeep.collector import Collector
from tests.helpers.wheels import make_wheel, tuned_wheel

PURE = "pure_thing-1.0-py3-none-any.whl"
TERMS = Terms({"nightly": 30, "stable": None})
LATE = datetime(2030, 1, 1, tzinfo=UTC)


class Publisher:
    """Publishes by HTTP, on an index with a policy of its own."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self.http = TestClient(create_app(store, settings, Policy(retention=TERMS)))
        token = make_token(store, "tests", None, ("upload:*", "move:*", "lease"))
        self.auth = {"Authorization": f"Bearer {token}"}
        self.sessions = 0

    def publish(self, *wheels: tuple[str, bytes]) -> str:
        self.sessions += 1
        session = f"{self.sessions:022}"
        for name, data in wheels:
            form = {":action": "file_upload"}
            sent = self.http.post(
                f"/upload/?session={session}", data=form, files={"content": (name, data)}, headers=self.auth
            )
            assert sent.status_code == 200, sent.text
        asked = {"session": session, "idempotency_key": "key-12345", "channel": "nightly"}
        snapshot: str = self.http.post("/api/snapshots", json=asked, headers=self.auth).json()["id"]
        return self.move(snapshot, "nightly")

    def move(self, snapshot: str, channel: str, status: int = 201) -> str:
        serial = self.http.get(f"/api/channels/{channel}").json()["serial"]
        move = {"snapshot": snapshot, "expected_serial": serial, "nonce": f"{snapshot}{channel}{serial}"}
        moved = self.http.post(f"/api/channels/{channel}/moves", json=move, headers=self.auth)
        assert moved.status_code == status, moved.text
        return snapshot

    def files(self, place: str = "nightly", project: str = "demo") -> list[dict[str, Any]]:
        answer = self.http.get(f"/{place}/neoverse-v1/simple/{project}/", headers={"Accept": JSON})
        assert answer.status_code == 200
        listed: list[dict[str, Any]] = answer.json()["files"]
        return listed

    def until(self, place: str = "nightly", project: str = "demo") -> str:
        [file] = self.files(place, project)
        until: str = file["_retain-until"]
        return until

    def collect(self) -> list[str]:
        catalog = Catalog(self.store, self.settings.channels, lambda: LATE)
        return Collector(catalog, TERMS).run().collected


@pytest.fixture
def publisher(
    make_store: Callable[[str], ObjectStore], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Publisher:
    monkeypatch.setattr(promises, "LOOK_EVERY", 0.0)
    return Publisher(make_store("memory"), settings)


def in_days(days: int) -> str:
    return str(date.fromordinal(datetime.now(UTC).date().toordinal()) + timedelta(days=days))


def test_a_page_says_until_when_its_files_are_kept(publisher: Publisher) -> None:
    old = publisher.publish(tuned_wheel(wheel_digest="a" * 64), (PURE, make_wheel(PURE)))
    assert publisher.until() == publisher.until(f"snapshots/{old}") == in_days(30)
    before = publisher.http.get("/nightly/neoverse-v1/simple/demo/", headers={"Accept": JSON})
    again = publisher.http.get(
        "/nightly/neoverse-v1/simple/demo/",
        headers={"Accept": JSON, "If-None-Match": before.headers["etag"]},
    )
    assert again.status_code == 304
    publisher.publish(tuned_wheel(wheel_digest="b" * 64))
    publisher.move(old, "stable")
    assert publisher.until("stable") == publisher.until(f"snapshots/{old}") == "forever"
    assert publisher.until() == in_days(30)
    assert publisher.until(project="pure-thing") == "forever"  # the file is in the stable snapshot too
    shown = publisher.http.get("/nightly/neoverse-v1/simple/demo/")
    assert "retain" not in shown.text


def test_a_kept_page_follows_within_a_second(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "LOOK_EVERY", 1.0)
    snapshot = publisher.publish(tuned_wheel())
    assert publisher.until(f"snapshots/{snapshot}") == in_days(30)
    publisher.move(snapshot, "stable")
    monkeypatch.setattr(promises, "LOOK_EVERY", 0.0)
    assert publisher.until(f"snapshots/{snapshot}") == "forever"


def test_a_lease_promises_its_files_until_it_ends(publisher: Publisher) -> None:
    name, data = tuned_wheel(wheel_digest="a" * 64)
    old = publisher.publish((name, data))
    publisher.publish(tuned_wheel(wheel_digest="b" * 64))
    http, auth = publisher.http, publisher.auth
    body = {"snapshots": [old], "message": "release 7 is locked to it"}
    assert http.put("/api/leases/release-7", json=body).status_code == 401
    put = http.put("/api/leases/release-7", json=body, headers=auth)
    assert put.status_code == 200, put.text
    assert http.put("/api/leases/release-7", json=body, headers=auth).json()["serial"] == put.json()["serial"]
    assert publisher.until(f"snapshots/{old}") == "forever"
    assert http.put("/api/leases/one-file", json={"files": [name]}, headers=auth).status_code == 200
    assert [each["name"] for each in http.get("/api/leases").json()["leases"]] == ["release-7", "one-file"]
    assert http.get("/api/leases/release-7").json()["snapshots"] == [old]
    assert http.delete("/api/leases/release-7", headers=auth).status_code == 200
    assert publisher.until(f"snapshots/{old}") == "forever"  # by the other lease
    assert http.delete("/api/leases/one-file", headers=auth).status_code == 200
    assert publisher.until(f"snapshots/{old}") == in_days(30)
    for path, wrong, status in (
        ("Release 7", {"snapshots": [old]}, 400),
        ("empty", {}, 400),
        ("unknown", {"snapshots": ["20200101-1"]}, 404),
        ("unknown", {"files": [PURE]}, 404),
        ("unknown", {"files": ["x"]}, 400),
    ):
        assert http.put(f"/api/leases/{path}", json=wrong, headers=auth).status_code == status
    assert http.delete("/api/leases/unknown", headers=auth).status_code == 404
    assert http.get("/api/leases/unknown").status_code == 404
    weak = {"Authorization": f"Bearer {make_token(publisher.store, 'weak', None)}"}
    assert http.put("/api/leases/x", json=body, headers=weak).status_code == 403


def test_a_collected_file_answers_with_its_successor(publisher: Publisher) -> None:
    old_name, old_data = tuned_wheel(wheel_digest="a" * 64)
    new_name, new_data = tuned_wheel(wheel_digest="b" * 64)
    gone_name = "gone_thing-1.0-py3-none-any.whl"
    old = publisher.publish((old_name, old_data))
    [file] = publisher.files()
    assert publisher.http.get(file["url"]).content == old_data
    publisher.publish((new_name, new_data))
    [newer] = publisher.files()
    assert publisher.collect() == [old_name]
    for suffix in ("", ".metadata"):
        answer = publisher.http.get(file["url"] + suffix)
        assert answer.status_code == 410
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == 410
        assert problem["successor"]["url"].lstrip("./") == newer["url"].lstrip("./")
        assert problem["successor"]["hashes"] == newer["hashes"]
        assert problem["filename"] == old_name
    assert publisher.http.head(file["url"]).status_code == 410
    publisher.move(old, "stable", status=409)
    asked = publisher.http.put("/api/leases/x", json={"snapshots": [old]}, headers=publisher.auth)
    assert asked.status_code == 410
    assert publisher.http.get("/api/leases").json() == {"leases": []}
    adopted = publisher.http.put(f"/api/sessions/{'d' * 22}/files/{old_name}", headers=publisher.auth)
    assert adopted.status_code == 410
    publisher.publish((old_name, old_data), (gone_name, make_wheel(gone_name)))
    assert publisher.http.get(file["url"]).content == old_data
    assert publisher.http.get(f"{file['url']}.metadata").status_code == 200


def test_another_server_follows_what_came_back(publisher: Publisher, settings: Settings) -> None:
    other = TestClient(create_app(publisher.store, settings))
    wheel = tuned_wheel(wheel_digest="a" * 64)
    publisher.publish(wheel)
    [file] = publisher.files()
    assert other.get(file["url"]).content == wheel[1]
    publisher.publish(tuned_wheel(wheel_digest="b" * 64))
    publisher.collect()
    assert other.get(file["url"]).status_code == 410
    publisher.publish(wheel)
    assert other.get(file["url"]).content == wheel[1]


def test_pages_without_a_policy_promise_for_ever(publisher: Publisher, settings: Settings) -> None:
    publisher.publish(tuned_wheel())
    plain = TestClient(create_app(publisher.store, settings))
    page = plain.get("/nightly/neoverse-v1/simple/demo/", headers={"Accept": JSON}).json()
    assert page["files"][0]["_retain-until"] == "forever"


def test_this_projects_own_channels_keep_stable_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from index_server.policy import load_policy
    from index_server.settings import ROOT

    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(Path(ROOT) / "configs"))
    days = load_policy().retention.days
    assert days["stable"] is None
    assert days["nightly"] is not None
