"""What every route answers while the store is away, and after it is back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.policy import Policy
from index_server.settings import Settings
from index_server.store.address import open_store
from tests.helpers.wheels import make_wheel
from tests.unit.index.api.test_app import PURE, SESSION, Client

PAGE = "/nightly/generic/simple/pure-thing/"


class Disk:
    """A store in a folder that can be taken away."""

    def __init__(self, folder: Path) -> None:
        self.root, self.away = folder / "store", folder / "away"
        self.store = open_store(f"file:{self.root}")

    def unmount(self) -> None:
        self.root.rename(self.away)

    def mount(self) -> None:
        self.away.rename(self.root)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def paths(client: Client, snapshot: str) -> list[str]:
    """A path of every kind of read."""
    file = client.json(PAGE, accept="application/vnd.pypi.simple.v1+json")["files"][0]
    sha256 = file["hashes"]["sha256"]
    url = f"/files/{sha256}/{file['filename']}"
    return [
        "/",
        "/healthz",
        "/nightly/generic/",
        "/nightly/neoverse-v1/simple/",
        f"/snapshots/{snapshot}/generic/simple/pure-thing/",
        f"/staging/{SESSION}/simple/",
        url,
        f"{url}.metadata",
        f"/files/{'0' * 64}/{PURE}",
        "/api/channels",
        "/api/channels/nightly",
        "/api/channels/nightly/moves",
        "/api/snapshots",
        f"/api/snapshots/{'2' * 8}-1",
        "/api/status",
        "/api/leases",
        f"/api/builds/{'0' * 64}",
        f"/api/sessions/{SESSION}",
        f"/api/evidence/{sha256}",
        f"/api/evidence/{sha256}/audit",
        f"/api/approvals/stable/{snapshot}",
    ]


def test_every_route_says_so(disk: Disk, settings: Settings) -> None:
    client = Client(disk.store, settings)
    snapshot = client.publish((PURE, make_wheel(PURE)))
    asked = paths(client, snapshot)
    disk.unmount()
    for path in asked:
        answer = client.get(path)
        assert (path, answer.status_code, answer.headers.get("retry-after")) == (path, 503, "5")
        assert str(disk.root) not in answer.text
    writes: list[tuple[str, Callable[[], object]]] = [
        ("upload", lambda: client.upload("x-1.0-py3-none-any.whl", make_wheel("x-1.0-py3-none-any.whl"))),
        ("evidence", lambda: client.http.put(f"/api/evidence/{'0' * 64}/audit", json={}, headers=client.auth)),
        ("move", lambda: client.post("/api/channels/stable/moves",
                                     {"snapshot": snapshot, "expected_serial": 0, "nonce": "n" * 8})),
    ]  # fmt: skip
    for name, write in writes:
        answer = write()
        assert (name, answer.status_code, answer.headers.get("retry-after")) == (name, 503, "5")
    disk.mount()
    assert client.json("/healthz")["serials"] == {"nightly": 1, "stable": 0}
    assert {client.get(path).status_code for path in asked[:8]} == {200}


def test_pages_in_memory_are_served_and_say_how_old_they_are(disk: Disk, settings: Settings) -> None:
    client = Client(disk.store, settings)
    client.publish((PURE, make_wheel(PURE)))
    fresh = client.get(PAGE)
    assert "x-armwheels-stale" not in fresh.headers
    disk.unmount()
    stale = client.get(PAGE)
    assert (stale.status_code, stale.text) == (200, fresh.text)
    assert 0 <= int(stale.headers["x-armwheels-stale"]) < 600
    assert stale.headers["age"] == stale.headers["x-armwheels-stale"]
    assert client.get(PAGE, if_none_match=fresh.headers["etag"]).status_code == 304
    disk.mount()
    again = client.get(PAGE)
    assert (again.status_code, "age" in again.headers) == (200, False)


def test_no_page_is_served_stale_for_longer_than_is_set(disk: Disk, settings: Settings) -> None:
    client = Client(disk.store, settings)
    client.publish((PURE, make_wheel(PURE)))
    client.http = TestClient(create_app(disk.store, settings, Policy(stale_seconds=0.0)))
    assert client.get(PAGE).status_code == 200
    disk.unmount()
    assert client.get(PAGE).status_code == 503


def test_a_page_that_was_known_to_be_superseded_is_not_served(disk: Disk, settings: Settings) -> None:
    client = Client(disk.store, settings)
    client.publish((PURE, make_wheel(PURE)))
    assert client.get(PAGE).status_code == 200
    other = "pure_thing-2.0-py3-none-any.whl"
    client.publish((other, make_wheel(other)), session="t" * 22)
    client.get("/nightly/generic/simple/")
    disk.unmount()
    assert client.get(PAGE).status_code == 503


def test_private_reads_wait_for_the_store(disk: Disk, settings: Settings) -> None:
    http = TestClient(create_app(disk.store, settings, Policy(reads_need_token=True)))
    token = {"Authorization": f"Bearer {make_token(disk.store, 'reader', None, ['read'])}"}
    disk.unmount()
    answer = http.get("/", headers=token)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_file_that_was_sent_is_sent_again_from_the_disk(
    disk: Disk, settings: Settings, tmp_path: Path
) -> None:
    client = Client(disk.store, settings)
    snapshot = client.publish((PURE, make_wheel(PURE)))
    http = TestClient(create_app(disk.store, settings, Policy(file_cache=(tmp_path / "kept", 1 << 20))))
    url = next(path for path in paths(client, snapshot) if path.endswith(".whl") and "0" * 64 not in path)
    before, metadata = http.get(url), http.get(f"{url}.metadata")
    assert before.status_code == metadata.status_code == 200
    disk.unmount()
    after = http.get(url)
    assert (after.status_code, after.content) == (200, before.content)
    assert int(after.headers["x-armwheels-stale"]) >= 0
    assert http.get(f"{url}.metadata").content == metadata.content
    part = http.get(url, headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, before.content[2:6])
    assert http.get(f"/files/{'0' * 64}/{PURE}").status_code == 503
    disk.mount()
    assert "x-armwheels-stale" not in http.get(url).headers


def test_a_file_under_quarantine_is_not_sent_from_the_disk(
    disk: Disk, settings: Settings, tmp_path: Path
) -> None:
    client = Client(disk.store, settings)
    snapshot = client.publish((PURE, make_wheel(PURE)))
    http = TestClient(create_app(disk.store, settings, Policy(file_cache=(tmp_path / "kept", 1 << 20))))
    url = next(path for path in paths(client, snapshot) if path.endswith(".whl") and "0" * 64 not in path)
    assert http.get(url).status_code == 200
    body = {
        "kind": "quarantine",
        "filename": PURE,
        "reason": "malware",
        "nonce": "n" * 8,
    }
    warden = {"authorization": f"Bearer {make_token(disk.store, 'warden', None, ['yank'])}"}
    assert client.http.post("/api/status", json=body, headers=warden).status_code == 201
    assert http.get(url).status_code == 403
    disk.unmount()
    assert http.get(url).status_code == 503


def test_a_file_is_not_sent_from_the_disk_for_ever(disk: Disk, settings: Settings, tmp_path: Path) -> None:
    client = Client(disk.store, settings)
    snapshot = client.publish((PURE, make_wheel(PURE)))
    policy = Policy(file_cache=(tmp_path / "kept", 1 << 20), stale_seconds=0)
    http = TestClient(create_app(disk.store, settings, policy))
    url = next(path for path in paths(client, snapshot) if path.endswith(".whl") and "0" * 64 not in path)
    assert http.get(url).status_code == 200
    disk.unmount()
    assert http.get(url).status_code == 503


def test_a_server_stays_ready_while_the_store_is_away(disk: Disk, settings: Settings) -> None:
    started_without, started_with = (TestClient(create_app(disk.store, settings)) for _ in range(2))
    assert started_with.get("/readyz").status_code == 200
    disk.unmount()
    assert [http.get("/livez").status_code for http in (started_without, started_with)] == [200, 200]
    assert [http.get("/readyz").status_code for http in (started_without, started_with)] == [503, 200]
    assert started_with.get("/healthz").status_code == 503
    disk.mount()
    assert started_without.get("/readyz").status_code == 200
