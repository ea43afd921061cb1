"""The HTTP contract, asked through the whole application."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.intake.upload import SMALL
from index_server.pages.negotiation import HTML, JSON
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from tests.helpers.wheels import make_wheel, tuned_wheel

SESSION = "s" * 22
PURE = "pure_thing-1.0-py3-none-any.whl"


class Client:
    """A publisher and reader of one index."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self.store = store
        self.http = TestClient(create_app(store, settings), follow_redirects=False)
        self.token = make_token(store, "tests", None)
        self.auth = {"Authorization": f"Bearer {self.token}"}

    def get(self, path: str, **headers: str) -> Any:
        return self.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def json(self, path: str, **headers: str) -> Any:
        answer = self.get(path, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, name: str, data: bytes, session: str | None = SESSION, **fields: str) -> Any:
        form = {":action": "file_upload", "protocol_version": "1", **fields}
        query = f"?session={session}" if session else ""
        return self.http.post(
            f"/upload/{query}", data=form, files={"content": (name, data)}, headers=self.auth
        )

    def post(self, path: str, body: object) -> Any:
        return self.http.post(path, json=body, headers=self.auth)

    def publish(self, *wheels: tuple[str, bytes], session: str = SESSION, key: str = "key-12345") -> str:
        for name, data in wheels:
            assert self.upload(name, data, session).status_code == 200
        asked = {"session": session, "idempotency_key": key, "channel": "nightly"}
        snapshot: str = self.post("/api/snapshots", asked).json()["id"]
        serial = self.json("/api/channels/nightly")["serial"]
        move = {"snapshot": snapshot, "expected_serial": serial, "nonce": f"{session}{key}"}
        assert self.post("/api/channels/nightly/moves", move).status_code in (200, 201)
        return snapshot


@pytest.fixture
def client(make_store: Callable[[str], ObjectStore], settings: Settings) -> Client:
    return Client(make_store("memory"), settings)


@pytest.fixture
def published(client: Client) -> Client:
    client.publish(tuned_wheel(), tuned_wheel(target="generic"), (PURE, make_wheel(PURE)))
    return client


# Uploads


def test_new_then_again_then_other_bytes(client: Client) -> None:
    data = make_wheel(PURE)
    first = client.upload(PURE, data)
    assert (first.status_code, first.headers["x-armwheels-session"]) == (200, SESSION)
    assert client.upload(PURE, data).status_code == 200
    other = client.upload(PURE, make_wheel(PURE, files={"pure_thing/more.py": b""}))
    assert other.status_code == 409
    assert "already exists with other bytes" in other.text
    assert len(list(client.store.keys("files/"))) == 2  # the wheel and its metadata, nothing of the other


def test_a_refusal_names_every_reason_in_plain_text(client: Client) -> None:
    answer = client.upload(PURE, b"nonsense", sha256_digest="0" * 64)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.text.splitlines()) == 2
    assert list(client.store.keys("files/")) == []


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "carries no token"),
        ("Bearer awt_wrong", "unknown here"),
        ("Basic " + base64.b64encode(b"__token__:awt_wrong").decode(), "unknown here"),
        ("Basic " + base64.b64encode(b"admin:admin").decode(), "must be __token__"),
        ("Basic %%%", "cannot be read"),
        ("Digest x", "not understood"),
    ],
)
def test_writing_needs_a_token(client: Client, header: str, reason: str) -> None:
    headers = {"Authorization": header} if header else {}
    status = 403 if reason == "unknown here" else 401
    for method, path in (
        ("POST", "/upload/"),
        ("PUT", f"/api/sessions/{SESSION}/files/{PURE}"),
        ("PUT", f"/api/evidence/{'0' * 64}/audit"),
    ):
        answer = client.http.request(method, path, headers=headers, content=b"{}")
        assert answer.status_code == status
        assert reason in answer.text
        assert answer.headers.get("www-authenticate", "").startswith("Basic") == (status == 401)
    bodies = {
        "/api/snapshots": {"session": SESSION, "idempotency_key": "k" * 8},
        "/api/channels/nightly/moves": {"snapshot": "x", "expected_serial": 0, "nonce": "n" * 8},
    }
    for path, body in bodies.items():
        assert client.http.post(path, headers=headers, json=body).status_code == status


def test_an_expired_token_is_refused_and_none_is_stored_in_clear(client: Client) -> None:
    for days, status in ((1, 404), (0, 403)):
        token = make_token(client.store, "tests", days)
        basic = base64.b64encode(f"__token__:{token}".encode()).decode()
        path = f"/api/sessions/{SESSION}/files/{PURE}"
        answer = client.http.put(path, headers={"Authorization": f"Basic {basic}"})
        assert answer.status_code == status
    assert token.encode() not in b"".join(client.store.get(key) for key in client.store.keys("tokens/"))


def test_uploads_without_a_session_become_a_snapshot_without_a_session(client: Client) -> None:
    sessions = set()
    for number, version in enumerate(("1.0", "2.0")):
        name = f"pure_thing-{version}-py3-none-any.whl"
        sessions.add(client.upload(name, make_wheel(name), session=None).headers["x-armwheels-session"])
        asked = {"idempotency_key": f"night-{number}"}
        first = client.post("/api/snapshots", asked)
        assert (first.status_code, first.json()["added"]) == (201, [name])
        assert client.post("/api/snapshots", asked).json() == first.json()
    assert len(sessions) == 2


def test_a_session_that_could_be_guessed_is_refused(client: Client) -> None:
    answer = client.upload(PURE, make_wheel(PURE), session="short")
    assert (answer.status_code, answer.text.startswith("a session's name is")) == (400, True)


@pytest.mark.parametrize(("call", "size"), [("create", 0), ("create_from", 2 * SMALL)])
def test_a_full_disk_answers_507(
    client: Client, monkeypatch: pytest.MonkeyPatch, call: str, size: int
) -> None:
    def full(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(client.store, call, full)
    answer = client.upload(PURE, make_wheel(PURE, files={"pure_thing/data": os.urandom(size)}))
    assert answer.status_code == 507
    assert "nothing is stored" in answer.text


@pytest.mark.parametrize("size", [0, SMALL - 1500, SMALL + 1, 3 << 20])
def test_files_of_all_sizes_keep_their_bytes(client: Client, size: int) -> None:
    data = make_wheel(PURE, files={"pure_thing/data": os.urandom(size)})
    assert client.upload(PURE, data).status_code == 200
    digest = hashlib.sha256(data).hexdigest()
    assert client.http.get(f"/files/{digest}/{PURE}").content == data


@pytest.mark.parametrize("query", ["", "&unusual=1"])  # the routes of FastAPI answer the unusual ones
def test_an_upload_larger_than_any_wheel_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr("index_server.intake.upload.WHOLE", 100)
    answer = client.upload(PURE, make_wheel(PURE), SESSION + query)
    assert (answer.status_code, "larger than 100 bytes" in answer.text) == (413, True)


def test_several_clients_upload_the_same_names_at_once(client: Client) -> None:
    name = "pure_thing-1.0-py3-none-any.whl"
    one, other = make_wheel(name), make_wheel(name, files={"pure_thing/more.py": b""})
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: client.upload(name, (one, other)[number % 2]), range(12)))
    kinds = [{answer.status_code for answer in answers[part::2]} for part in (0, 1)]
    assert sorted(kinds, key=min) == [{200}, {409}]


# Sessions, evidence, builds


def test_a_recorded_file_is_adopted_into_a_session(published: Client) -> None:
    session = "t" * 30
    path = f"/api/sessions/{session}/files"
    assert published.get(f"/api/sessions/{session}").status_code == 404
    assert published.http.put(f"{path}/{PURE}", headers=published.auth).status_code == 200
    name, _ = tuned_wheel()
    assert published.http.put(f"{path}/{name}", headers=published.auth).status_code == 200
    assert published.http.put(f"{path}/none-1-py3-none-any.whl", headers=published.auth).status_code == 404
    assert published.http.put(f"{path}/none", headers=published.auth).status_code == 404
    held = published.json(f"/api/sessions/{session}")
    assert {file["filename"] for file in held["files"]} == {PURE, name}
    asked = {"session": session, "idempotency_key": "no-news-1"}
    answer = published.post("/api/snapshots", asked)
    assert (answer.status_code, answer.json()["created"]) == (200, False)


def test_staging_shows_a_session_and_hides_it_from_others(client: Client) -> None:
    name, data = tuned_wheel()
    client.upload(name, data)
    root = client.get(f"/staging/{SESSION}/simple/", accept="text/html")
    assert 'href="demo/"' in root.text
    assert root.headers["x-robots-tag"] == "noindex"
    assert root.headers["cache-control"] == "no-store"
    page = client.json(f"/staging/{SESSION}/simple/demo/", accept=JSON)
    assert [file["filename"] for file in page["files"]] == [name]
    assert client.get(f"/staging/{SESSION}/simple/Demo").status_code == 308
    assert client.get(f"/staging/{SESSION}/simple/none/").status_code == 404
    assert client.get(f"/staging/{'u' * 22}/simple/").status_code == 404
    assert client.get("/staging/short/simple/").status_code == 404


def test_evidence_is_kept_for_known_files_and_the_newest_is_given(published: Client) -> None:
    sha = published.json("/api/snapshots/" + published.json("/api/snapshots")["snapshots"][0])["files"][0][
        "sha256"
    ]
    path = f"/api/evidence/{sha}/audit"
    assert published.get(path).status_code == 404
    for body in ({"good": False}, {"good": True}, {"good": True}):
        assert published.http.put(path, json=body, headers=published.auth).status_code == 200
    assert published.json(path) == {"good": True}
    assert published.json(f"/api/evidence/{sha}")["kinds"] == ["audit"]
    assert published.http.put(path, content=b"{", headers=published.auth).status_code == 400
    unknown = f"/api/evidence/{'0' * 64}/audit"
    assert published.http.put(unknown, json={}, headers=published.auth).status_code == 404


def test_a_file_has_a_page_with_its_evidence(published: Client) -> None:
    snapshot = published.json("/api/snapshots")["snapshots"][0]
    file = published.json(f"/api/snapshots/{snapshot}")["files"][0]
    published.http.put(f"/api/evidence/{file['sha256']}/audit", json={"passed": True}, headers=published.auth)
    page = published.get(f"/api/wheels/{file['sha256']}")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert f"<h1>{file['filename']}</h1>" in page.text
    link = re.search(r'href="(\.\./evidence/[^"]*)">audit</a></td><td>passed<', page.text)
    assert link is not None
    assert published.get(f"/api/wheels/{link[1]}").json() == {"passed": True}
    assert published.get(f"/api/wheels/{'0' * 64}").status_code == 404


def test_a_build_is_found_by_its_wheel_digest(published: Client) -> None:
    name, data = tuned_wheel()
    record = published.json("/api/builds/3fa9c2d1" + "0" * 56)
    assert (record["filename"], record["sha256"]) == (name, hashlib.sha256(data).hexdigest())
    assert published.get("/api/builds/" + "0" * 64).status_code == 404
    assert published.get("/api/builds/short").status_code == 400


# Snapshots and channels


def test_a_snapshot_is_made_once_and_a_channel_moves_to_it_once(client: Client) -> None:
    assert client.json("/api/channels/nightly")["serial"] == 0
    assert client.json("/api/channels/nightly")["snapshot"] is None
    name, data = tuned_wheel()
    client.upload(name, data)
    asked = {"session": SESSION, "idempotency_key": "first-key", "channel": "nightly"}
    made = client.post("/api/snapshots", asked)
    assert made.status_code == 201
    assert made.json() == client.post("/api/snapshots", asked).json()
    assert {**made.json(), "id": "x"} == {
        "id": "x",
        "created": True,
        "parent": None,
        "files": 1,
        "added": [name],
        "replaced": [],
        "dropped": [],
    }
    snapshot = client.json(f"/api/snapshots/{made.json()['id']}")
    assert snapshot["files"][0]["target"] == "neoverse-v1"
    move = {"snapshot": snapshot["id"], "expected_serial": 0, "nonce": "n" * 8, "message": "hello"}
    first = client.post("/api/channels/nightly/moves", move)
    assert (first.status_code, first.json()["serial"], first.json()["by"]) == (201, 1, "tests")
    again = client.post("/api/channels/nightly/moves", move)
    assert (again.status_code, again.json()) == (201, first.json())
    same = client.post("/api/channels/nightly/moves", {**move, "nonce": "o" * 8})
    assert (same.status_code, same.json()) == (200, first.json())
    client.upload(PURE, make_wheel(PURE))
    other = client.post("/api/snapshots", {**asked, "idempotency_key": "other-key"}).json()["id"]
    late = client.post("/api/channels/nightly/moves", {**move, "snapshot": other, "nonce": "p" * 8})
    assert (late.status_code, late.json()["serial"]) == (409, 1)
    assert late.headers["content-type"] == "application/problem+json"
    assert client.json("/api/channels/nightly/moves") == {"moves": [first.json()]}
    assert [row["name"] for row in client.json("/api/channels")["channels"]] == ["nightly", "stable"]
    assert client.json("/healthz") == {"status": "ok", "serials": {"nightly": 1, "stable": 0}}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/snapshots", {"session": "short", "idempotency_key": "x", "colour": 1}, 400),
        ("/api/snapshots", {"session": SESSION, "idempotency_key": "k" * 8}, 404),
        ("/api/snapshots", {"session": SESSION, "idempotency_key": "k" * 8, "channel": "weekly"}, 404),
        (
            "/api/channels/weekly/moves",
            {"snapshot": "20261123-1", "expected_serial": 0, "nonce": "n" * 8},
            404,
        ),
        ("/api/channels/nightly/moves", {"snapshot": "x", "expected_serial": 0, "nonce": "n" * 8}, 404),
        ("/api/channels/nightly/moves", {"snapshot": "x", "expected_serial": -1, "nonce": ""}, 400),
    ],
)
def test_malformed_and_unknown_requests_get_reasons(
    client: Client, path: str, body: dict[str, object], status: int
) -> None:
    answer = client.post(path, body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reasons"]


def test_lone_surrogates_are_refused(client: Client) -> None:
    body = b'{"snapshot": "x", "expected_serial": 0, "nonce": "nnnnnnnn", "message": "\\ud800"}'
    headers = {**client.auth, "content-type": "application/json"}
    assert client.http.post("/api/channels/nightly/moves", content=body, headers=headers).status_code == 400


def test_unknown_paths_and_methods_are_refused(client: Client) -> None:
    assert client.get("/api/none").status_code == 404
    assert client.http.delete("/api/channels").status_code == 405


# Pages


def test_a_page_in_every_type_and_encoding(published: Client) -> None:
    path = "/nightly/neoverse-v1/simple/demo/"
    for accept, kind in ((JSON, JSON), (HTML, HTML), ("text/html", "text/html"), ("*/*", "text/html")):
        answer = published.get(path, accept=accept, accept_encoding="identity")
        assert answer.headers["content-type"].split(";")[0] == kind
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
        assert answer.headers["cache-control"] == "no-cache"
        etag = answer.headers["etag"]
        assert not etag.startswith("W/")
        same = published.get(path, accept=accept, accept_encoding="identity", if_none_match=etag)
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
        head = published.http.head(path, headers={"accept": accept, "accept-encoding": "identity"})
        assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))
        packed = published.get(path, accept=accept, accept_encoding="gzip")
        assert packed.text == answer.text
    refused = published.get(path, accept="image/png")
    assert (refused.status_code, refused.headers["vary"]) == (406, "Accept, Accept-Encoding")


def test_a_target_sees_its_own_wheel(published: Client) -> None:
    for target, local in (("neoverse-v1", "neoverse.v1"), ("neoverse-n1", "generic"), ("generic", "generic")):
        page = published.json(f"/nightly/{target}/simple/demo/", accept=JSON)
        assert page["versions"] == [f"1.0+{local}"]
        assert "pure-thing" in published.get(f"/nightly/{target}/simple/").text


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/nightly/neoverse-v1/simple", 308, "/nightly/neoverse-v1/simple/"),
        ("/nightly/neoverse-v1", 308, "/nightly/neoverse-v1/"),
        ("/nightly/neoverse-v1/simple/demo?x=1", 308, "/nightly/neoverse-v1/simple/demo/?x=1"),
        ("/nightly/neoverse-v1/simple/Pure.Thing/", 308, "/nightly/neoverse-v1/simple/pure-thing/"),
        ("/nightly/graviton3/simple/Demo", 307, "/nightly/neoverse-v1/simple/demo/"),
        ("/nightly/graviton3/", 307, "/nightly/neoverse-v1/"),
        ("/nightly/graviton3+none/simple/demo/", 307, "/nightly/neoverse-v1+none/simple/demo/"),
        ("/nightly", 308, "/nightly/"),
        ("/snapshots", 308, "/snapshots/"),
        ("/nightly/neoverse-v1/Demo", 308, "/nightly/neoverse-v1/demo/"),
        ("/nightly/generic/simple/a%0d%0ab", 308, "/nightly/generic/simple/a%0D%0Ab/"),
    ],
)
def test_other_spellings_redirect(published: Client, path: str, status: int, location: str) -> None:
    answer = published.get(path)
    assert not answer.headers["location"].startswith("/")
    assert (answer.status_code, urljoin(path, answer.headers["location"])) == (status, location)


@pytest.mark.parametrize(
    "path",
    [
        "/weekly/generic/simple/", "/nightly/itanium/simple/", "/nightly/generic+/simple/",
        "/nightly/generic+mkl/simple/", "/nightly/generic/simple/none/", "/nightly/generic/other/",
        "/nightly/generic/simple/demo/more/", "/snapshots/20200101-1/generic/simple/", "/snapshots/20200101-1/",
        "//example.org/simple/", "/nightly//simple/", "/files/../tokens/x", "/files/" + "0" * 64 + "/x.whl",
        "/files/" + "0" * 64 + "/..%2f..%2ftokens", "/%3Cscript%3E/", "/stable/generic/simple/demo/",
        "/nightly/%3Cscript%3E/simple/",
    ],
)  # fmt: skip
def test_a_missing_page_is_404_and_escapes_its_path(published: Client, path: str) -> None:
    answer = published.get(path)
    assert answer.status_code == 404
    assert "<script>" not in answer.text
    assert "<h1>Not found</h1>" in answer.text


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (
            "/nightlyy/generic/simple/",
            "there is no channel nightlyy; did you mean &#x27;nightly&#x27;? the channels are",
        ),
        ("/NIGHTLY/generic/simple/demo/", "did you mean &#x27;nightly&#x27;?"),
        ("/simple/", "each channel and target has an index of its own"),
        ("/zzz/", "there is no channel zzz; the channels are nightly, stable;"),
        ("/favicon.ico", "there is no such page"),
        ("/snapshots/x/", "there is no snapshot x"),
        ("/nightly/generic/simple/demo/more/", "there is no such page"),
    ],
)
def test_an_unknown_channel_is_told_from_a_missing_page(published: Client, path: str, reason: str) -> None:
    answer = published.get(path)
    assert answer.status_code == 404
    assert reason in answer.text.replace("&#39;", "&#x27;")


def test_an_unknown_channel_of_the_api_names_the_nearest(client: Client) -> None:
    for path in ("/api/channels/stabel", "/api/channels/stabel/moves"):
        answer = client.get(path)
        reason = "there is no channel stabel; did you mean 'stable'? the channels are nightly, stable"
        assert (answer.status_code, answer.json()["reasons"]) == (404, [reason])


@pytest.mark.parametrize("path", ["/api/channels/", "/api/channels/nightly/", "/api/snapshots/"])
def test_an_api_path_with_a_slash_too_many_leads_nowhere(client: Client, path: str) -> None:
    """A redirect would name the server's own host, and drop the path below which a proxy serves it."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"a"', b"7"])
def test_a_body_that_is_no_object_says_so(client: Client, body: bytes) -> None:
    kind = {"Content-Type": "application/json"}
    for headers in ({**client.auth, **kind}, client.auth):
        answer = client.http.post("/api/approvals", content=body, headers=headers)
        assert (answer.status_code, answer.json()["reasons"]) == (
            400,
            ["the body must be a JSON object, sent with Content-Type: application/json"],
        )


def test_rules_of_spelling_are_told_in_words(client: Client) -> None:
    asked = {"session": "mine", "idempotency_key": "k"}
    assert client.post("/api/snapshots", asked).json()["reasons"] == [
        "session: must be 22 to 64 letters, digits, dashes and underscores"
    ]
    digest = "0" * 64
    spelled = "letters, digits, and dots, dashes or underscores between them"
    for path, reason in {
        "/api/evidence/x": "sha256: must be 64 hexadecimal digits in lower case",
        "/api/builds/x": "wheel_digest: must be 64 hexadecimal digits in lower case",
        f"/api/builds/{digest}?project=-": f"project: must be a project's name: {spelled}",
        f"/api/evidence/{digest}/A": "kind: must be lower-case letters and digits, with single dashes "
        "between them",
    }.items():
        assert client.get(path).json()["reasons"] == [reason]


def test_a_backend_of_its_own(client: Client) -> None:
    acl = tuned_wheel(backend="acl", default_backend=False, wheel_digest="b" * 64)
    client.publish(tuned_wheel(), acl)
    assert client.json("/nightly/neoverse-v1/simple/demo/", accept=JSON)["versions"] == ["1.0+neoverse.v1"]
    page = client.json("/nightly/neoverse-v1+acl/simple/demo/", accept=JSON)
    assert page["versions"] == ["1.0+neoverse.v1.acl"]
    assert client.get("/nightly/generic+acl/simple/demo/").status_code == 404
    assert "no wheel of it runs on generic" in client.get("/nightly/generic/simple/demo/").text


def test_pages_follow_a_move_made_elsewhere(published: Client, settings: Settings) -> None:
    other = TestClient(create_app(published.store, settings))
    path = "/nightly/neoverse-v1/simple/demo/"
    headers = {"accept": JSON}
    before = other.get(path, headers=headers)
    assert other.get(path, headers={**headers, "if-none-match": before.headers["etag"]}).status_code == 304
    first = published.json("/api/channels/nightly")["snapshot"]
    published.publish(tuned_wheel(version="2.0", wheel_digest="c" * 64), session="v" * 22)
    after = other.get(path, headers={**headers, "if-none-match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.json()["versions"] == ["1.0+neoverse.v1", "2.0+neoverse.v1"]
    old = other.get(f"/snapshots/{first}/neoverse-v1/simple/demo/", headers=headers)
    assert old.text.replace("../../../../../files", "../../../../files") == before.text


def test_a_channel_that_has_not_moved_is_an_empty_index(client: Client) -> None:
    assert client.json("/stable/generic/simple/", accept=JSON)["projects"] == []


def test_kept_pages_are_bounded(published: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index_server.pages.site.KEPT_BYTES", 2000)
    for _ in range(2):
        for target in ("generic", "neoverse-n1", "neoverse-v1"):
            for project in ("demo", "pure-thing"):
                assert published.get(f"/nightly/{target}/simple/{project}/").status_code == 200


# Files


def test_a_file_and_its_metadata(published: Client) -> None:
    page = published.json("/nightly/generic/simple/pure-thing/", accept=JSON)
    file = page["files"][0]
    answer = published.get(file["url"])
    assert answer.content == make_wheel(PURE)
    assert hashlib.sha256(answer.content).hexdigest() == file["hashes"]["sha256"]
    assert "immutable" in answer.headers["cache-control"]
    metadata = published.get(file["url"] + ".metadata")
    assert hashlib.sha256(metadata.content).hexdigest() == file["core-metadata"]["sha256"]
    for headers in ({}, {"range": "bytes=0-9"}):  # ranges are of GET alone
        head = published.http.head(file["url"], headers=headers)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(file["size"])
    same = published.get(file["url"], if_none_match=answer.headers["etag"])
    assert same.status_code == 304


def test_a_range_gives_that_part_of_a_file(published: Client) -> None:
    url = published.json("/nightly/generic/simple/pure-thing/", accept=JSON)["files"][0]["url"]
    whole = published.get(url)
    size, etag = len(whole.content), whole.headers["etag"]
    for header, start, stop in (
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=5-{size * 9}", 5, size),
        (f"bytes=-{size * 9}", 0, size),
    ):
        part = published.get(url, range=header, if_range=etag)
        assert (part.status_code, part.content) == (206, whole.content[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    for header in ("bytes=9-5", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=x-"):
        assert published.get(url, range=header).status_code == 200
    assert published.get(url, range="bytes=5-", if_range='"other"').content == whole.content
    beyond = published.get(url, range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert published.get(url, range="bytes=-0").status_code == 416


# For people


def test_the_landing_page_shows_commands_and_escapes_the_host(published: Client) -> None:
    page = published.get("/", host="wheels.example.org:8080").text
    assert "pip install --trusted-host wheels.example.org --index-url" in page
    assert "http://wheels.example.org:8080/nightly/neoverse-v1/simple/" in page
    assert published.json("/api/channels/nightly")["snapshot"] in page
    for name in ("graviton3", "stable", "neoverse-n1"):
        assert name in page
    assert "http-equiv" not in page
    assert 'src="' not in page
    evil = published.get("/", host="a<script>b").text
    assert "<script>" not in evil


def test_the_page_of_a_target(published: Client) -> None:
    page = published.get("/nightly/neoverse-v1/").text
    assert 'href="pure-thing/"' in page
    assert "uv pip install --default-index" in page
    assert "Nothing is published here yet" in published.get("/stable/neoverse-v1/").text
