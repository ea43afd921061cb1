"""Channels over HTTP: gates, approvals, yanks, quarantines, sessions thrown away, sets that appear together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.catalog.catalog import Catalog
from index_server.catalog.journal import journal_key
from index_server.pages.negotiation import JSON
from index_server.policy import Policy
from index_server.rules.gates import Cell, Gates
from index_server.settings import Settings
from index_server.upkeep import check
from tests.helpers.stores import MemoryStore
from tests.helpers.wheels import make_wheel, tuned_wheel

PURE = "pure_thing-1.0-py3-none-any.whl"
GATES = Gates(
    sources=("nightly",),
    required=tuple(Cell("demo", "1.0", "cp311", target, "none") for target in ("generic", "neoverse-v1")),
    evidence=("audit", "emulation"),
    approvals=1,
)
SCOPES = ("upload:*", "evidence", "move:*", "yank")


class Index:
    """An index with gates before ``stable``, and the people who use it."""

    def __init__(self, settings: Settings) -> None:
        self.store = MemoryStore()
        self.settings = settings
        self.http = TestClient(
            create_app(self.store, settings, Policy(gates={"stable": GATES})), follow_redirects=False
        )
        self.tokens = {name: make_token(self.store, name, None, SCOPES) for name in ("ann", "bob")}
        self.count = 0

    def call(self, method: str, path: str, body: object = None, who: str = "ann") -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        return self.http.request(method, path, json=body, headers=headers)

    def get(self, path: str) -> Any:
        return self.http.get(path, headers={"accept": JSON})

    def upload(self, name: str, data: bytes, session: str) -> Any:
        return self.http.post(
            f"/upload/?session={session}",
            data={":action": "file_upload"},
            files={"content": (name, data)},
            headers={"Authorization": f"Bearer {self.tokens['ann']}"},
        )

    def snapshot(self, *wheels: tuple[str, bytes], proven: bool = True, shown: bool = True) -> str:
        self.count += 1
        session = f"{self.count:022}"
        for name, data in wheels:
            assert self.upload(name, data, session).status_code == 200
            for kind in ("audit", "emulation") * proven:
                self.prove(data, kind)
        asked = {"session": session, "idempotency_key": "k"}
        made: str = self.call("POST", "/api/snapshots", asked).json()["id"]
        if shown:
            assert self.move("nightly", made).status_code == 201
        return made

    def prove(self, data: bytes, kind: str, good: bool = True) -> None:
        sha = hashlib.sha256(data).hexdigest()
        body = {"passed": good, "sha256": sha}
        assert self.call("PUT", f"/api/evidence/{sha}/{kind}", body).status_code == 200

    def move(self, channel: str, snapshot: str, who: str = "ann", **more: object) -> Any:
        serial = self.get(f"/api/channels/{channel}").json()["serial"]
        self.count += 1
        body = {"snapshot": snapshot, "expected_serial": serial, "nonce": f"nonce {self.count}", **more}
        return self.call("POST", f"/api/channels/{channel}/moves", body, who)

    def approve(self, snapshot: str, who: str = "bob") -> Any:
        return self.call("POST", "/api/approvals", {"channel": "stable", "snapshot": snapshot}, who)

    def mark(self, kind: str, **subject: str) -> Any:
        self.count += 1
        body = {"kind": kind, "reason": "bad sums", "nonce": f"nonce {self.count}", **subject}
        return self.call("POST", "/api/status", body)

    def faults(self) -> list[str]:
        catalog = Catalog(self.store, self.settings.channels)
        found = [fault for name in catalog.channels for fault in check.journal_faults(catalog, name)]
        return found + list(check.status_faults(catalog))


@pytest.fixture
def index(settings: Settings) -> Iterator[Index]:
    made = Index(settings)
    yield made
    assert made.faults() == []


BOTH = (tuned_wheel(), tuned_wheel(target="generic", wheel_digest="a" * 64))
V1, GENERIC = (name for name, _ in BOTH)
PAGE = "/nightly/neoverse-v1/simple/demo/"


def names(index: Index, path: str = PAGE) -> list[str]:
    return [file["filename"] for file in index.get(path).json()["files"]]


# Gates


def test_a_snapshot_with_everything_is_promoted_and_nothing_is_copied(index: Index) -> None:
    snapshot = index.snapshot(*BOTH, (PURE, make_wheel(PURE)))
    assert index.approve(snapshot).status_code == 201
    before = set(index.store.keys("files/")) | set(index.store.keys("records/"))
    moved = index.move("stable", snapshot)
    assert moved.status_code == 201, moved.text
    assert set(index.store.keys("files/")) | set(index.store.keys("records/")) == before
    entry = moved.json()
    assert (entry["by"], entry["approvals"]) == ("ann", ["bob"])
    judgement = index.store.get(f"judgements/{entry['judgement']}.json")
    assert hashlib.sha256(judgement).hexdigest() == entry["judgement"]
    for page in ("demo", "pure-thing"):
        nightly, stable = (index.get(f"/{c}/neoverse-v1/simple/{page}/") for c in ("nightly", "stable"))
        assert (nightly.content, nightly.headers["etag"]) == (stable.content, stable.headers["etag"])


def test_all_that_is_missing_comes_in_one_answer(index: Index) -> None:
    snapshot = index.snapshot(BOTH[0], (PURE, make_wheel(PURE)), proven=False, shown=False)
    assert index.mark("quarantine", filename=PURE).status_code == 201
    answer = index.move("stable", snapshot)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert sorted(answer.json()["reasons"]) == sorted(
        [
            "it was never shown by nightly",
            "demo-1.0-cp311-generic-none is required and not there",
            "it needs the approval of another person than the one who moves the channel",
            f"{PURE} is under quarantine: bad sums",
            f"{V1} has no audit evidence",
            f"{V1} has no emulation evidence",
        ]
    )
    assert index.get("/api/channels/stable").json()["serial"] == 0
    assert list(index.store.keys("judgements/")) == []


def test_the_newest_evidence_counts(index: Index) -> None:
    snapshot = index.snapshot(*BOTH)
    index.approve(snapshot)
    index.prove(BOTH[0][1], "audit", good=False)
    assert index.move("stable", snapshot).json()["reasons"] == [
        f"{V1}: its audit evidence does not say that it passed"
    ]
    index.prove(BOTH[0][1], "audit")
    assert index.move("stable", snapshot).status_code == 201


def test_a_persons_own_approval_does_not_count(index: Index) -> None:
    snapshot = index.snapshot(*BOTH)
    index.tokens["ann again"] = make_token(index.store, "ann", None, SCOPES)
    for who in ("ann", "ann again"):
        index.approve(snapshot, who)
    shut = index.move("stable", snapshot)
    assert (shut.status_code, len(shut.json()["reasons"])) == (422, 1)
    assert index.approve(snapshot).json() == index.approve(snapshot).json()  # the first stands
    assert index.move("stable", snapshot, approvals=["eve"]).json()["reasons"] == ["eve has not approved it"]
    listed = index.get(f"/api/approvals/stable/{snapshot}").json()["approvals"]
    assert [each["by"] for each in listed] == ["ann", "ann", "bob"]
    assert index.move("stable", snapshot, who="bob").json()["approvals"] == ["ann", "ann"]


def test_the_way_back_asks_for_no_second_approval(index: Index) -> None:
    first = index.snapshot(*BOTH)
    index.approve(first)
    assert index.move("stable", first).status_code == 201
    second = index.snapshot(tuned_wheel(version="2.0", wheel_digest="c" * 64))
    index.approve(second)
    assert index.move("stable", second).status_code == 201
    assert index.move("stable", first, who="bob").status_code == 201
    index.mark("quarantine", filename=V1)
    assert index.move("stable", second).json()["reasons"] == [f"{V1} is under quarantine: bad sums"]


def test_a_lost_answer_is_given_though_gates_have_shut_since(index: Index) -> None:
    snapshot = index.snapshot(*BOTH)
    index.approve(snapshot)
    body = {"snapshot": snapshot, "expected_serial": 0, "nonce": "mine"}
    first = index.call("POST", "/api/channels/stable/moves", body)
    index.mark("quarantine", filename=V1)
    again = index.call("POST", "/api/channels/stable/moves", body)
    assert (again.status_code, again.json()) == (201, first.json())


def test_approvals_are_of_what_there_is(index: Index) -> None:
    assert index.approve("20200101-1").status_code == 404
    assert index.call("POST", "/api/approvals", {"channel": "weekly", "snapshot": "x"}).status_code == 404
    assert index.get("/api/approvals/weekly/x").status_code == 404


def test_check_finds_what_was_changed(index: Index) -> None:
    snapshot = index.snapshot(*BOTH)
    index.approve(snapshot)
    entry = index.move("stable", snapshot).json()
    index.mark("yank", filename=V1)
    index.mark("unyank", filename=V1)
    good = dict(index.store.objects)
    changes = {
        f"judgements/{entry['judgement']}.json": b"{}",
        next(iter(index.store.keys("approvals/"))): None,
        journal_key("_status", 1): good[journal_key("_status", 1)].replace(b"bad sums", b"fine"),
        journal_key("stable", 1): good[journal_key("stable", 1)].replace(b'"bob"', b'"eve"'),
    }
    for key, data in changes.items():
        if data is None:
            del index.store.objects[key]
        else:
            index.store.objects[key] = data
        assert index.faults(), key
        index.store.objects.update(good)
    del index.store.objects[journal_key("_status", 1)]
    assert index.faults() == ["journal/_status/1.json: is missing"]
    index.store.objects.update(good)


# Yanks and quarantines


def test_a_yank_shows_at_once_everywhere_and_can_be_taken_back(index: Index) -> None:
    snapshot = index.snapshot(*BOTH)
    paths = (PAGE, f"/snapshots/{snapshot}/neoverse-v1/simple/demo/")
    before = {path: index.get(path) for path in paths}
    other = TestClient(create_app(index.store, index.settings))
    assert other.get(PAGE).status_code == 200
    assert index.mark("yank", filename=V1).status_code == 201
    assert index.mark("yank", filename=V1).status_code == 200
    for path in paths:
        etag = before[path].headers["etag"]
        for http in (index.http, other):
            page = http.get(path, headers={"accept": JSON, "if-none-match": etag})
            yanked = {file["filename"]: file["yanked"] for file in page.json()["files"]}
            assert (page.status_code, yanked) == (200, {GENERIC: False, V1: "bad sums"})
    assert index.get("/nightly/generic/simple/demo/").json()["files"][0]["yanked"] is False
    status = index.get("/api/status").json()
    assert status["projects"]["demo"]["yanked"] == {V1: "bad sums"}
    assert [(each["kind"], each["by"], each["reason"]) for each in status["entries"]] == [
        ("yank", "ann", "bad sums")
    ]
    assert index.mark("unyank", filename=V1).status_code == 201
    assert index.get(PAGE).content == before[PAGE].content
    assert index.get("/api/status").json()["projects"] == {}


def test_a_file_under_quarantine_gives_way_to_the_next_best(index: Index) -> None:
    index.snapshot(*BOTH)
    url = index.get(PAGE).json()["files"][0]["url"]
    assert index.mark("quarantine", filename=V1).status_code == 201
    assert names(index) == [GENERIC]
    for path in (url, f"{url}.metadata"):
        assert index.http.get(path).status_code == 403
    assert "bad sums" in index.http.get(url).text
    assert index.mark("release", filename=V1).status_code == 201
    assert names(index) == [V1]
    assert index.http.get(url).status_code == 200


def test_a_project_under_quarantine_offers_nothing_and_takes_nothing(index: Index) -> None:
    index.snapshot(*BOTH, (PURE, make_wheel(PURE)))
    assert index.mark("quarantine", project="Demo").status_code == 201
    page = index.get(PAGE).json()
    assert page["project-status"] == {"status": "quarantined", "reason": "bad sums"}
    assert (page["files"], page["versions"]) == ([], [])
    assert names(index, "/nightly/generic/simple/pure-thing/") == [PURE]
    refused = index.upload(*tuned_wheel(version="2.0"), "u" * 22)
    assert (refused.status_code, "under quarantine" in refused.text) == (403, True)
    assert index.call("PUT", f"/api/sessions/{'u' * 22}/files/{V1}").status_code == 403
    assert list(index.store.keys(f"sessions/{'u' * 22}/")) == []
    assert index.mark("release", project="demo").status_code == 201
    assert names(index) == [V1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "yank", "project": "demo"}, 400),
        ({"kind": "yank"}, 400),
        ({"kind": "yank", "project": "demo", "filename": "x.whl"}, 400),
        ({"kind": "yank", "filename": "none-1-py3-none-any.whl"}, 404),
        ({"kind": "quarantine", "filename": "x"}, 404),
        ({"kind": "quarantine", "project": "none"}, 404),
        ({"kind": "release", "project": "demo"}, 409),
        ({"kind": "delete", "project": "demo"}, 400),
        ({"kind": "quarantine", "project": "../demo"}, 400),
        ({"kind": "quarantine", "project": "demo", "reason": "  "}, 400),
    ],
)
def test_marks_that_mean_nothing(index: Index, body: dict[str, str], status: int) -> None:
    index.snapshot(*BOTH)
    answer = index.call("POST", "/api/status", {"reason": "x", "nonce": "n", **body})
    assert answer.status_code == status, answer.text
    assert answer.json()["reasons"]
    assert index.get("/api/status").json()["serial"] == 0


# Sessions and sets


def test_a_session_is_previewed_and_thrown_away(index: Index) -> None:
    session = "p" * 22
    name, data = tuned_wheel()
    index.upload(name, data, session)
    assert names(index, f"/staging/{session}/simple/demo/") == [name]
    for _ in range(2):
        assert index.call("DELETE", f"/api/sessions/{session}").status_code == 204
    assert index.get(f"/staging/{session}/simple/").status_code == 404
    assert index.get(f"/api/sessions/{session}").status_code == 404
    refused = index.upload(name, data, session)
    assert (refused.status_code, "was discarded" in refused.text) == (409, True)
    assert index.call("PUT", f"/api/sessions/{session}/files/{name}").status_code == 409
    asked = {"session": session, "idempotency_key": "k"}
    assert index.call("POST", "/api/snapshots", asked).status_code == 409
    assert index.get("/api/snapshots").json()["snapshots"] == []
    assert index.call("DELETE", "/api/sessions/short").status_code == 400
    assert index.upload(name, data, "q" * 22).status_code == 200  # the same bytes, another session


def test_what_became_a_snapshot_is_not_thrown_away(index: Index) -> None:
    index.snapshot(*BOTH)
    answer = index.call("DELETE", f"/api/sessions/{1:022}")
    assert (answer.status_code, "cannot be discarded" in answer.text) == (409, True)
    assert index.get(f"/api/sessions/{1:022}").status_code == 200


def test_a_tokens_own_session_thrown_away_makes_room_for_the_next(index: Index) -> None:
    headers = {"Authorization": f"Bearer {index.tokens['ann']}"}
    joined = []
    for _ in range(2):
        answer = index.http.post("/upload/", files={"content": (PURE, make_wheel(PURE))}, headers=headers,
                                 data={":action": "file_upload"})  # fmt: skip
        joined.append(answer.headers["x-armwheels-session"])
        assert index.call("DELETE", f"/api/sessions/{joined[-1]}").status_code == 204
    assert joined[0] != joined[1]


def test_a_set_appears_by_one_move_or_not_at_all(index: Index) -> None:
    """torch, vision and audio of two versions: a reader sees one version of all three."""
    projects = ("torch", "vision", "audio")

    def seen() -> list[list[str]]:
        pages = (index.get(f"/nightly/neoverse-v1/simple/{project}/") for project in projects)
        return [page.json()["versions"] if page.status_code == 200 else [] for page in pages]

    looks = []
    for version, digit in (("1.0", "a"), ("2.0", "b")):
        session = digit * 22
        for number, project in enumerate(projects):
            wheel = tuned_wheel(recipe=project, version=version, wheel_digest=digit * 63 + str(number))
            assert index.upload(*wheel, session).status_code == 200
            looks.append(seen())
        asked = {"session": session, "idempotency_key": "k"}
        made = index.call("POST", "/api/snapshots", asked).json()["id"]
        looks.append(seen())
        assert index.move("nightly", made).status_code == 201
        looks.append(seen())
    assert all(look == [look[0]] * 3 for look in looks)
    assert [look[0] for look in looks] == [[]] * 4 + [["1.0+neoverse.v1"]] * 5 + [
        ["1.0+neoverse.v1", "2.0+neoverse.v1"]
    ]
