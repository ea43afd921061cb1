"""An index with signed metadata: its keys, its answers as a source, and answers that were tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from armwheels_verify.judge import Judge, Judgement
from armwheels_verify.ledger import Ledger
from armwheels_verify.sources import Source
from armwheels_verify.wanted import Wanted
from securesystemslib.signer import CryptoSigner
from starlette.testclient import TestClient

from builder.index.statements import Report, provenance, sealed, verdict
from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.catalog.catalog import Catalog
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from index_server.trust import ceremony
from index_server.trust.repository import Repository
from tests.helpers.wheels import make_passport, tuned_wheel

REPORTS: Mapping[str, dict[str, Any]] = {
    "audit": {"passed": True, "verdicts": [{"check": "instructions", "ok": True}]},
    "emulation": {"passed": True, "runs": []},
}


@dataclass
class People:
    """The keys of an index: two of three people sign the root, one the targets; the server, and a builder."""

    roots: list[CryptoSigner] = field(
        default_factory=lambda: [CryptoSigner.generate_ed25519() for _ in range(3)]
    )
    targets: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    online: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    builder: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)

    def wishes(self, **changed: Any) -> ceremony.Wishes:
        given: dict[str, Any] = {
            "roots": [signer.public_key for signer in self.roots],
            "threshold": 2,
            "targets": self.targets.public_key,
            "online": [self.online.public_key],
            "builders": [self.builder.public_key],
            "required": ("provenance", "audit", "emulation"),
            "channels": ("nightly", "stable"),
        }
        return ceremony.Wishes(**{**given, **changed})


class SignedIndex:
    """A server over a store, and what publishers and operators do with it."""

    def __init__(
        self, store: ObjectStore, settings: Settings, folder: Path, people: People | None = None
    ) -> None:
        self.store, self.people, self.folder = store, people or People(), folder
        self.clock: datetime | None = None  # None: the time that it is
        app = create_app(store, settings, signers=[self.people.online], now=self.now)
        self.http = TestClient(app, raise_server_exceptions=True)
        self.catalog = Catalog(store, settings.channels, self.now)
        self.repository = Repository(self.catalog, [self.people.online])
        self.auth = {"Authorization": f"Bearer {make_token(store, 'owner', None, ['admin'])}"}
        self.moves = 0

    def now(self) -> datetime:
        return self.clock or datetime.now(UTC)

    def sign_root(self, signers: list[CryptoSigner] | None = None, **wishes: Any) -> bytes:
        """The first ceremony. Gives the root that clients pin."""
        made = ceremony.begin(self.folder / "first", self.now(), self.people.wishes(**wishes))
        for signer in (*(signers or self.people.roots[:2]), self.people.targets):
            ceremony.sign(made, signer)
        ceremony.publish(made, self.repository)
        return self.get("tuf/1.root.json")

    def rotate(self, *signers: CryptoSigner, **wishes: Any) -> None:
        """A later ceremony; ``wishes`` says what changes."""
        state = self.repository.state()
        assert state is not None
        made = ceremony.change(
            self.folder / "next", self.now(), ceremony.Wishes(**wishes), self.repository, state
        )
        for signer in signers:
            ceremony.sign(made, signer)
        ceremony.publish(made, self.repository)

    def upload(
        self, *, signer: CryptoSigner | None = None, signed: bool = True, **facts: Any
    ) -> tuple[str, str]:
        """A tuned wheel with reports and statements, shown by nightly. Gives its file name and sha256."""
        filename, data = tuned_wheel(**facts)
        session = f"s{self.moves:021}"
        sent = self.http.post(
            f"/upload/?session={session}",
            data={":action": "file_upload", "protocol_version": "1"},
            files={"content": (filename, data)},
            headers=self.auth,
        )
        assert sent.is_success, sent.text
        [file] = self.http.get(f"/api/sessions/{session}").json()["files"]
        (self.folder / filename).write_bytes(data)
        passport = make_passport(
            **{key: value for key, value in facts.items() if key not in ("salt", "number")}
        )
        for kind, report in REPORTS.items():
            self.put(file["sha256"], kind, report)
            if signed:
                made = verdict(filename, file["sha256"], Report(kind=kind, body=report))
                self.put(file["sha256"], f"statement-{kind}", sealed(made, signer or self.people.builder))
        if signed:
            made = provenance(filename, file["sha256"], passport)
            self.put(file["sha256"], "statement-provenance", sealed(made, signer or self.people.builder))
        self.show(session)
        return filename, file["sha256"]

    def show(self, session: str) -> None:
        made = self.post("/api/snapshots", {"session": session, "idempotency_key": session})
        self.move("nightly", made["id"])

    def move(self, channel: str, snapshot: str) -> None:
        serial = self.http.get(f"/api/channels/{channel}").json()["serial"]
        self.moves += 1
        self.post(
            f"/api/channels/{channel}/moves",
            {"snapshot": snapshot, "expected_serial": serial, "nonce": f"move-{self.moves}"},
        )

    def put(self, sha256: str, kind: str, body: object) -> None:
        answer = self.http.put(f"/api/evidence/{sha256}/{kind}", json=body, headers=self.auth)
        assert answer.is_success, answer.text

    def post(self, path: str, body: object) -> Any:
        answer = self.http.post(path, json=body, headers=self.auth)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path: str) -> bytes:
        answer = self.http.get(f"/{path}")
        assert answer.status_code == 200, (path, answer.text)
        return answer.content

    # As a source of armwheels-verify

    def chunks(self, path: str) -> Iterator[bytes]:
        answer = self.http.get(f"/{path}")
        if answer.status_code == 404:
            raise FileNotFoundError(path)
        assert answer.status_code == 200, answer.text
        yield answer.content


Change = Callable[[bytes], bytes | Iterator[bytes]] | bytes | None


class Tampered:
    """A source between an index and its client that changes answers; None takes one away."""

    def __init__(self, inner: Source, changes: Mapping[str, Change]) -> None:
        self._inner = inner
        self._changes = changes

    def chunks(self, path: str) -> Iterator[bytes]:
        if path not in self._changes:
            yield from self._inner.chunks(path)
            return
        change = self._changes[path]
        if change is None:
            raise FileNotFoundError(path)
        if isinstance(change, bytes):
            yield change
            return
        changed = change(b"".join(self._inner.chunks(path)))
        yield from [changed] if isinstance(changed, bytes) else changed


class Recorded:
    """The answers of an index at one moment, as a mirror kept them."""

    def __init__(self, index: SignedIndex, paths: list[str]) -> None:
        self._answers = {path: index.get(path) for path in paths}
        self._index = index

    def chunks(self, path: str) -> Iterator[bytes]:
        if path not in self._answers:
            yield from self._index.chunks(path)
            return
        yield self._answers[path]


def judged(source: Source, root: bytes, state: Path, *wanted: Wanted) -> list[Judgement]:
    """What armwheels-verify says of files."""
    judge = Judge(Ledger(source, root, state), source)
    return [judge.judge(each) for each in wanted]


def as_json(data: bytes) -> Any:
    return json.loads(data)
