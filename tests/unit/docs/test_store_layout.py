"""The reference's store layout lists every key that a used store has, and no other."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from starlette.testclient import TestClient

from index_server.access.tokens import make_token, revoke_tokens
from index_server.api.app import create_app
from index_server.catalog.catalog import Catalog
from index_server.model import Tomb
from index_server.policy import Policy
from index_server.rules.gates import Gates
from index_server.settings import load_settings
from index_server.store.address import open_store
from index_server.store.interface import ObjectStore
from index_server.trust import ceremony
from index_server.trust.ceremony import Wishes, begin
from index_server.trust.repository import Repository
from scripts.reference import LAYOUT
from tests.helpers.attested import Authority
from tests.helpers.wheels import tuned_wheel

SESSION, DISCARDED = "s" * 22, "d" * 22
FILENAME, WHEEL = tuned_wheel()


def pattern(key: str) -> re.Pattern[str]:
    """A key of the table as a regular expression; a journal in braces is a channel's."""
    escaped = re.sub(r"\\{channel\\}", "[a-z][^/]*", re.escape(key))
    return re.compile(re.sub(r"\\{[^}]*\\}", "[^/]+", escaped))


def sign(store: ObjectStore, channels: Mapping[str, str]) -> None:
    """The ceremony of one person who has all keys."""
    key = CryptoSigner.generate_ed25519()
    repository = Repository(Catalog(store, channels), [key])
    public = key.public_key
    wishes = Wishes(roots=[public], targets=public, online=[public], channels=tuple(channels))
    made = begin(Path(), datetime.now(UTC), wishes)
    ceremony.sign(made, key)
    ceremony.publish(made, repository)


def use(store: ObjectStore) -> None:
    """Write an object of every kind."""
    settings = load_settings()
    policy = Policy(gates={"stable": Gates(approvals=1)})
    sign(store, settings.channels)
    http = TestClient(create_app(store, settings, policy), raise_server_exceptions=True)
    owner = {"Authorization": f"Bearer {make_token(store, 'owner', None, ['admin'])}"}
    other = {"Authorization": f"Bearer {make_token(store, 'other', None, ['admin'])}"}

    def send(method: str, path: str, body: object = None, headers: dict[str, str] = owner) -> object:
        answer = http.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def upload(session: str) -> None:
        attested = [Authority.make().attest(FILENAME, hashlib.sha256(WHEEL).hexdigest())]
        form = {":action": "file_upload", "protocol_version": "1", "attestations": json.dumps(attested)}
        files = {"content": (FILENAME, WHEEL)}
        answer = http.post(f"/upload/?session={session}", data=form, files=files, headers=owner)
        assert answer.is_success, answer.text

    upload(SESSION)
    send("POST", "/api/snapshots", {"session": SESSION, "idempotency_key": "key"})
    [snapshot] = http.get("/api/snapshots").json()["snapshots"]
    [file] = http.get(f"/api/snapshots/{snapshot}").json()["files"]
    send("PUT", f"/api/evidence/{file['sha256']}/audit", {"passed": True})
    send("POST", "/api/approvals", {"channel": "stable", "snapshot": snapshot}, other)
    send("POST", "/api/channels/stable/moves", {"snapshot": snapshot, "expected_serial": 0, "nonce": "n"})
    send("POST", "/api/status", {"kind": "yank", "filename": FILENAME, "reason": "r", "nonce": "n"})
    send("PUT", "/api/leases/release", {"snapshots": [snapshot]})
    http.put(f"/api/cache/{'c' * 32}", content=b"object", headers=owner)
    night = "20261128-030000-0a1b2c3d"
    send("PUT", f"/api/nights/{night}", {"rows": []})
    part = f"/api/logs/demo/{night}/1790000000000-1-compile-00000"
    http.put(part, content=b"source", headers=owner)
    upload(DISCARDED)
    send("DELETE", f"/api/sessions/{DISCARDED}")
    revoke_tokens(store, "other")
    tomb = Tomb(project=file["project"], filename=FILENAME, sha256=file["sha256"], generation=0)
    Catalog(store, settings.channels).tombs.collect([tomb], at="2026-11-27T00:00:00Z", by="test")
    upload("a" * 22)


def test_the_layout_is_that_of_a_used_store(tmp_path: Path) -> None:
    use(open_store(f"file:{tmp_path}"))
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    keys = [file.as_posix() for file in files if file.parts[0] != ".tmp"]
    patterns = {key: pattern(key) for key, _ in LAYOUT}
    listed = {key: [each for each in patterns if patterns[each].fullmatch(key)] for key in keys}
    assert [key for key, matches in listed.items() if not matches] == []
    assert set(patterns) - {match for matches in listed.values() for match in matches} == set()
