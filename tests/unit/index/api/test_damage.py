"""One damaged object stops what needs it, is named by check, and stops nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.catalog.catalog import Catalog
from index_server.errors import DamagedError
from index_server.model import Record
from index_server.rules.retention import Terms
from index_server.settings import Settings
from index_server.upkeep import check
from index_server.upkeep.collector import Collector
from index_server.upkeep.deep import deep_faults
from tests.helpers.stores import MemoryStore
from tests.helpers.wheels import make_wheel, tuned_wheel

DEMO, OTHER = tuned_wheel(), ("other-1.0-py3-none-any.whl", make_wheel("other-1.0-py3-none-any.whl"))
NEWER = ("other-2.0-py3-none-any.whl", make_wheel("other-2.0-py3-none-any.whl"))
SCOPES = ("upload:*", "evidence", "move:*", "yank", "lease")
DEMO_PAGE, OTHER_PAGE = "/nightly/neoverse-v1/simple/demo/", "/nightly/neoverse-v1/simple/other/"


class Index:
    """An index with an object of every kind."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = MemoryStore()
        self.restart()
        self.auth = {"Authorization": f"Bearer {make_token(self.store, 'ann', None, SCOPES)}"}
        self.snapshots = [self.publish("a", DEMO, OTHER), self.publish("b", NEWER)]
        self.urls = {
            name: self.http.get(page, headers={"accept": "application/vnd.pypi.simple.v1+json"}).json()[
                "files"
            ]
            for name, page in (("demo", DEMO_PAGE), ("other", OTHER_PAGE))
        }
        demo = self.urls["demo"][0]["hashes"]["sha256"]
        self.call("PUT", f"/api/evidence/{demo}/audit", {"passed": True, "by": "hand"})
        self.call("POST", "/api/approvals", {"channel": "stable", "snapshot": self.snapshots[0]})
        self.call("PUT", "/api/leases/ci", {"snapshots": [self.snapshots[0]]})
        self.call("POST", "/api/status", {"kind": "yank", "filename": DEMO[0], "reason": "bad", "nonce": "y"})
        self.upload("c", ("waiting-1.0-py3-none-any.whl", make_wheel("waiting-1.0-py3-none-any.whl")))

    def restart(self) -> None:
        self.http = TestClient(
            create_app(self.store, self.settings), follow_redirects=False, raise_server_exceptions=True
        )

    def catalog(self) -> Catalog:
        return Catalog(self.store, self.settings.channels)

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = self.http.request(method, path, json=body, headers=self.auth)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def upload(self, session: str, *wheels: tuple[str, bytes]) -> None:
        for wheel in wheels:
            answer = self.http.post(
                f"/upload/?session={session * 22}",
                data={":action": "file_upload"},
                files={"content": wheel},
                headers=self.auth,
            )
            assert answer.status_code == 200, answer.text

    def publish(self, session: str, *wheels: tuple[str, bytes]) -> str:
        self.upload(session, *wheels)
        asked = {"session": session * 22, "idempotency_key": "k"}
        made: str = self.call("POST", "/api/snapshots", asked)["id"]
        serial = self.call("GET", "/api/channels/nightly")["serial"]
        self.call(
            "POST",
            "/api/channels/nightly/moves",
            {"snapshot": made, "expected_serial": serial, "nonce": session},
        )
        return made

    def key(self, pattern: str) -> str:
        """The first key that matches."""
        return next(key for key in sorted(self.store.objects) if re.match(pattern, key))

    def halve(self, pattern: str) -> str:
        key = self.key(pattern)
        self.store.objects[key] = self.store.objects[key][: len(self.store.objects[key]) // 2]
        return key

    def faults(self) -> list[str]:
        """What ``check --deep`` says."""
        catalog = self.catalog()
        seen: dict[str, Record] = {}
        found = [
            fault for name in check.journal_names(catalog) for fault in check.journal_faults(catalog, name)
        ]
        found += [*check.status_faults(catalog), *check.collected_faults(catalog)]
        found += check.verdict_faults(catalog)
        for each in catalog.snapshot_ids():
            found += check.snapshot_faults(catalog, each, seen)
        for record in seen.values():
            found += check.record_faults(catalog, record, deep=True)
        return [*found, *deep_faults(catalog, seen)]


@pytest.fixture
def index(settings: Settings) -> Index:
    return Index(settings)


PAGES = {
    "landing": "/",
    "list": "/nightly/neoverse-v1/simple/",
    "demo": DEMO_PAGE,
    "other": OTHER_PAGE,
    "old demo": "/snapshots/{0}/neoverse-v1/simple/demo/",
    "old other": "/snapshots/{0}/neoverse-v1/simple/other/",
    "person's list": "/nightly/neoverse-v1/",
    "person's demo": "/nightly/neoverse-v1/demo/",
    "moves": "/nightly/",
    "snapshot": "/snapshots/{1}/",
    "all snapshots": "/snapshots/",
    "search": "/search/?q=demo",
    "cpu": "/cpu/",
    "health": "/healthz",
    "snapshots": "/api/snapshots",
    "channel": "/api/channels/stable",
}
NIGHTLY = {"list", "demo", "other", "person's list", "person's demo", "moves"}
OLD = {"old demo", "old other"}
DAMAGE: dict[str, set[str]] = {  # the key, and the pages that need it
    r"journal/nightly/1\.": set(),
    r"journal/nightly/2\.": NIGHTLY,
    r"journal/_leases/1\.": set(),
    r"journal/_status/1\.": {"demo", "old demo", "person's demo"},
    r"snapshots/.*-1\.": OLD,
    r"snapshots/.*-2\.": NIGHTLY | {"snapshot"},
    r"shards/DEMO\.": {"demo", "old demo", "person's demo"},
    r"shards/OTHER\.": {"other"},
    r"records/demo/": set(),
    r"evidence/": set(),
    r"tokens/": set(),
    r"approvals/": set(),
    r"sessions/a": set(),
    r"sessions/c+/files/": set(),
    r"intents/": set(),
    r"builds/": set(),
    r"records/waiting/": set(),
    r"channels/nightly": set(),
}


@pytest.mark.parametrize("pattern", DAMAGE)
def test_a_damaged_object_stops_what_needs_it_alone(index: Index, pattern: str) -> None:
    projects = index.catalog().find_snapshot(index.snapshots[1]).projects
    spelled = pattern.replace("DEMO", projects["demo"].shard).replace("OTHER", projects["other"].shard)
    assert index.faults() == []
    key = index.halve(spelled)
    index.restart()
    failed = set()
    for name, path in PAGES.items():
        answer = index.http.get(path.format(*index.snapshots))
        assert answer.status_code in (200, 500), (path, answer.text)
        if answer.status_code == 500:
            failed.add(name)
            assert f"damaged: {key}; the operator should run" in answer.text
            assert "nput should" not in answer.text  # no word of what is in the object
    assert failed == DAMAGE[pattern]
    assert any(key in fault for fault in index.faults())


@pytest.mark.parametrize("pattern", [pattern for pattern in DAMAGE if "journal" in pattern])
def test_a_lost_object_is_a_damaged_one(index: Index, pattern: str) -> None:
    key = index.key(pattern)
    del index.store.objects[key]
    assert any(key in fault for fault in index.faults())
    with pytest.raises(DamagedError, match=key):
        Collector(index.catalog(), Terms({"nightly": 1, "stable": None})).run()


@pytest.mark.parametrize("name", ["nightly", "_status", "_leases"])
def test_nothing_is_written_over_entries_that_were_lost(index: Index, name: str) -> None:
    """The last entry of a journal is gone, and its hint says so."""
    keys = [key for key in index.store.objects if key.startswith(f"journal/{name}/")]
    del index.store.objects[max(keys)]
    index.restart()
    assert index.http.get("/").status_code == 200
    writes = {
        "nightly": ("POST", "/api/channels/nightly/moves",
                    {"snapshot": index.snapshots[1], "expected_serial": 1, "nonce": "z"}),
        "_status": ("POST", "/api/status",
                    {"kind": "yank", "filename": OTHER[0], "reason": "bad", "nonce": "z"}),
        "_leases": ("PUT", "/api/leases/more", {"snapshots": [index.snapshots[0]]}),
    }  # fmt: skip
    method, path, body = writes[name]
    before = dict(index.store.objects)
    answer = index.http.request(method, path, json=body, headers=index.auth)
    assert (answer.status_code, max(keys) in answer.text) == (500, True)
    assert {k for k in index.store.objects if k.startswith("journal/")} == {
        k for k in before if k.startswith("journal/")
    }
    del index.store.objects[f"channels/{name}.json"]  # the operator accepts the loss
    index.restart()
    answer = index.http.request(method, path, json=body, headers=index.auth)
    assert answer.status_code in (200, 201), answer.text


def test_an_older_entry_in_place_of_the_last_one_is_not_believed(index: Index) -> None:
    index.store.objects["journal/nightly/2.json"] = index.store.objects["journal/nightly/1.json"]
    index.restart()
    answer = index.http.get(OTHER_PAGE)
    assert (answer.status_code, "damaged: journal/nightly/2.json" in answer.text) == (500, True)
    assert index.http.get(f"/snapshots/{index.snapshots[1]}/neoverse-v1/simple/other/").status_code == 200
    with pytest.raises(DamagedError, match=r"journal/nightly/2\.json"):
        Collector(index.catalog(), Terms({"nightly": 1, "stable": None})).run()


@pytest.mark.parametrize(
    ("serial", "fault"),
    [
        ("3", "journal/nightly/3.json: is missing"),
        ("9", "journal/nightly/3.json to 9.json: are missing"),
        (str(10**30), f"journal/nightly/3.json to {10**30}.json: are missing"),
    ],
)
def test_a_hint_far_ahead_costs_one_line(index: Index, serial: str, fault: str) -> None:
    index.store.objects["channels/nightly.json"] = f'{{"serial":{serial},"sha256":null}}'.encode()
    assert index.faults() == [fault]


def test_a_hint_that_cannot_be_is_damaged_and_stops_nothing(index: Index) -> None:
    index.store.objects["channels/nightly.json"] = b'{"serial":-1,"sha256":null}'
    (fault,) = index.faults()
    assert fault.startswith("channels/nightly.json: damaged")
    index.restart()
    index.call(
        "POST",
        "/api/channels/nightly/moves",
        {"snapshot": index.snapshots[0], "expected_serial": 2, "nonce": "z"},
    )


def test_a_changed_byte_in_the_last_entry_is_found_and_not_built_on(index: Index) -> None:
    for key, old, new in (
        ("journal/nightly/2.json", b'"by":"ann"', b'"by":"bob"'),
        ("journal/_status/1.json", b'"reason":"bad"', b'"reason":"sad"'),
    ):
        index.store.objects[key] = index.store.objects[key].replace(old, new)
        assert any(fault.startswith(f"{key}: its bytes have changed") for fault in index.faults())
    index.restart()
    body = {"snapshot": index.snapshots[0], "expected_serial": 2, "nonce": "z"}
    answer = index.http.post("/api/channels/nightly/moves", json=body, headers=index.auth)
    assert answer.status_code == 500
    assert "journal/nightly/3.json" not in index.store.objects


@pytest.mark.parametrize(
    ("pattern", "old", "new"),
    [
        ("evidence/", b'"by":"hand"', b'"by":"band"'),
        ("sessions/a+/files/demo", b'"sha256":"', b'"sha256":"0'),
        ("sessions/c+/files/", b"waiting", b"baiting"),
        ("approvals/", b'"channel":"stable"', b'"channel":"nightly"'),
        ("intents/", b'"snapshot":"20', b'"snapshot":"30'),
        ("records/waiting/", b'"project":"waiting"', b'"project":"baiting"'),
        ("builds/", b'"project":"demo"', b'"project":"other"'),
    ],
)
def test_a_changed_byte_is_found(index: Index, pattern: str, old: bytes, new: bytes) -> None:
    key = index.key(pattern)
    assert old in index.store.objects[key]
    index.store.objects[key] = index.store.objects[key].replace(old, new, 1)
    assert any(key in fault for fault in index.faults())


def test_a_file_that_was_cut_off_is_never_sent_as_whole(index: Index) -> None:
    url = index.urls["demo"][0]["url"]
    key = index.key("files/.*/demo.*whl$")
    whole = index.store.objects[key]
    for left in (whole[:-7], b""):
        index.store.objects[key] = left
        for answer in (index.http.get(url), index.http.get(url, headers={"range": "bytes=0-4"})):
            assert (answer.status_code, f"damaged: {key}" in answer.text) == (500, True)
            assert answer.headers["cache-control"] == "no-cache"
        assert index.http.head(url).status_code == 500
    index.store.objects[key] = whole
    assert index.http.get(url).content == whole


def test_a_file_that_ends_early_breaks_off(
    index: Index, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is right, and fewer bytes come: the answer must be shorter than its stated length."""
    url = index.urls["demo"][0]["url"]
    key = index.key("files/.*/demo.*whl$")
    whole = index.store.objects[key]
    read = index.store.read
    monkeypatch.setattr(index.store, "read", lambda name, start, stop: read(name, start, stop - 7))
    answer = index.http.get(url)
    assert (answer.content, answer.headers["content-length"]) == (whole[:-7], str(len(whole)))
    assert f"breaks off: {key}: damaged: 7 bytes are missing at its end" in caplog.text.replace(url, "")
    monkeypatch.setattr(index.store, "read", lambda *_: iter(()))
    answer = index.http.get(url)
    assert (answer.status_code, f"damaged: {key}" in answer.text) == (500, True)


def test_a_file_of_no_snapshot_is_read_too(index: Index) -> None:
    key = index.key("files/.*/waiting.*whl$")
    index.store.objects[key] = index.store.objects[key][:-1] + b"\1"
    assert any(fault.startswith(f"{key}: ") for fault in index.faults())


def test_a_quarantined_file_stays_hidden_when_its_entry_is_damaged(index: Index) -> None:
    body = {"kind": "quarantine", "filename": NEWER[0], "reason": "malware", "nonce": "q"}
    index.call("POST", "/api/status", body)
    index.halve(r"journal/_status/2\.")
    index.restart()
    url = next(each["url"] for each in index.urls["other"] if NEWER[0] in each["url"])
    assert index.http.get(url).status_code == 500
    assert index.http.get(OTHER_PAGE).status_code == 500
    assert index.http.get(DEMO_PAGE).status_code == 200
    assert index.http.get(index.urls["demo"][0]["url"]).status_code == 200


def test_an_entry_of_an_older_server_left_no_name(index: Index) -> None:
    """Then a damaged entry may speak of any project."""
    for key in [key for key in index.store.objects if key.startswith("marked/")]:
        del index.store.objects[key]
    index.halve(r"journal/_status/1\.")
    index.restart()
    assert {index.http.get(page).status_code for page in (DEMO_PAGE, OTHER_PAGE)} == {500}
    assert index.http.get("/nightly/neoverse-v1/simple/").status_code == 200


STRAYS = [
    "README", ".hidden", "snapshots/20261127-1.json.bak", "snapshots/x.json", "journal/nightly/1.json~",
    "journal/nightly/.2.json.swp", "journal/_status/x.json", "journal/README/1", "tokens/.nfs0001",
    "files/note.txt", "files/{demo}/.nfs0002", "records/demo/x.json.orig", "sessions/s/files/x.json",
    "sessions/tmp", "evidence/{demo}/audit/3.json.bak", "evidence/{demo}/audit/x.json", "verdicts/demo/old",
    "approvals/stable/{snapshot}/a.json~", "intents/{snapshot}/x.json", "cache/x", "channels/nightly.json.bak",
    "builds/x.json", "leases/x", "revocations/x",
]  # fmt: skip


def test_what_strays_into_a_store_breaks_nothing_and_is_named(index: Index) -> None:
    demo = index.urls["demo"][0]["hashes"]["sha256"]
    before = {path: index.http.get(path.format(*index.snapshots)).text for path in PAGES.values()}
    strays = [each.format(demo=demo, snapshot=index.snapshots[0]) for each in STRAYS]
    index.store.objects |= dict.fromkeys(strays, b"x")
    index.restart()
    assert {path: index.http.get(path.format(*index.snapshots)).text for path in PAGES.values()} == before
    assert index.faults() == []
    notes = list(check.notes(index.catalog()))
    assert [note.partition(":")[0] for note in notes] == sorted(strays)
    report = Collector(index.catalog(), Terms({"nightly": 1, "stable": None})).run()
    assert (report.missing, report.stored) == ([], 4)
    index.call("PUT", f"/api/evidence/{demo}/audit", {"passed": False})
    assert f"evidence/{demo}/audit/2.json" in index.store.objects
    assert index.call("GET", f"/api/evidence/{demo}")["kinds"] == ["audit"]
    index.publish("d", ("other-3.0-py3-none-any.whl", make_wheel("other-3.0-py3-none-any.whl")))
    assert set(strays) <= index.store.objects.keys()
