"""Evidence: reports about files, such as audits and test runs. The newest of each kind counts; none is replaced.

Evidence is stored at ``evidence/<sha256>/<kind>/<number>.json``. Whether the file passed is also stored, as a key:
``verdicts/<project>/<sha256>.<kind>.<number>.<passed or failed>``. So a gate needs one listing a project, however
many wheels a snapshot has and however large their reports are.

A verdict is derived from its evidence. It is written after the evidence and before the upload is acknowledged. If a
crash prevented that, the next reader derives and writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain

import orjson

from index_server.catalog.journal import serial_of
from index_server.catalog.tombstones import split_key
from index_server.errors import DamagedError, NotFoundError
from index_server.model import Evidence, sha256_hex, stamp
from index_server.names import parse_name
from index_server.rules.gates import passed
from index_server.store.interface import ObjectStore
from index_server.store.objects import keys

AT_ONCE = 16  # concurrent requests to the store; a network store answers each in milliseconds
Verdict = tuple[int, bool]  # the number of the newest evidence, and whether it says that the file passed


class EvidenceShelf:
    """All evidence in a store. Several threads and processes may add to it."""

    def __init__(self, store: ObjectStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def add(self, sha256: str, kind: str, body: object, by: str) -> Evidence:
        """Add evidence about a file, unless the newest of its kind is equal.

        Raises:
            NotFoundError: no file has this sha256.
        """
        filename = self.filename(sha256)
        added = Evidence(sha256=sha256, kind=kind, at=stamp(self._now()), by=by, body=body)
        while True:
            number = self._count(sha256, kind)
            newest = self._whole(sha256, kind, number) if number else None
            if newest is None or not _same(newest.body, body):
                number += 1
                if not self._store.create(evidence_key(sha256, kind, number), added.encode()):
                    continue
                newest = added
            self._judge(parse_name(filename).project, newest, number)
            return newest

    def filename(self, sha256: str) -> str:
        """The name of the file that evidence is about.

        Raises:
            NotFoundError: no file has this sha256.
        """
        file = next(iter(keys(self._store, f"files/{sha256}/")), None)
        if file is None:
            raise NotFoundError(f"the index has no file with the sha256 {sha256}; upload it first")
        (_, filename), _ = split_key(file)
        return filename

    def find(self, sha256: str, kind: str) -> Evidence | None:
        """The newest evidence of a kind, or None."""
        count = self._count(sha256, kind)
        return self.read(sha256, kind, count) if count else None

    def kinds(self, sha256: str) -> list[str]:
        """The kinds of evidence that exist about a file."""
        return sorted({key.split("/")[2] for key in keys(self._store, f"evidence/{sha256}/")})

    def verdicts(self, files: Mapping[str, str], kinds: Iterable[str]) -> dict[str, dict[str, Verdict]]:
        """The newest verdict of each kind about each file; ``files`` maps sha256 to project."""
        wanted = sorted(kinds)
        found: dict[str, dict[str, Verdict]] = {sha256: {} for sha256 in files}
        if not wanted:
            return found
        with ThreadPoolExecutor(AT_ONCE) as pool:
            listed = chain.from_iterable(pool.map(self.told, sorted(set(files.values()))))
            for sha256, kind, number, good in listed:
                if sha256 in files and kind in wanted and number > found[sha256].get(kind, (0, False))[0]:
                    found[sha256][kind] = number, good
            absent = [(sha256, kind) for sha256 in files for kind in wanted if kind not in found[sha256]]
            for (sha256, kind), verdict in zip(
                absent, pool.map(lambda each: self._reckon(files[each[0]], *each), absent), strict=True
            ):
                if verdict is not None:
                    found[sha256][kind] = verdict
        return found

    def told(self, project: str) -> list[tuple[str, str, int, bool]]:
        """All verdicts about a project's files: sha256, kind, number, and whether the file passed."""
        prefix = f"verdicts/{project}/"
        split = (key.removeprefix(prefix).split(".") for key in keys(self._store, prefix))
        return [(sha256, kind, int(number), outcome == "passed") for sha256, kind, number, outcome in split]

    def read(self, sha256: str, kind: str, number: int) -> Evidence:
        """Return one piece of evidence.

        Raises:
            MissingObjectError: there is no evidence with this number.
            DamagedError: the evidence is damaged.
        """
        key = evidence_key(sha256, kind, number)
        return Evidence.decode(self._store.get(key), key=key)

    def _whole(self, sha256: str, kind: str, number: int) -> Evidence | None:
        """Return a piece of evidence; None if it is damaged, so that the caller writes another one."""
        try:
            return self.read(sha256, kind, number)
        except DamagedError:
            return None

    def sealed(self, project: str, sha256: str, kind: str, number: int, *, good: bool) -> bool:
        """Whether evidence is unchanged since its verdict was written. Verdicts of older servers have no hash."""
        seal = self._store.get(_verdict_key(project, sha256, kind, number, good=good)).decode(
            "ascii", "replace"
        )
        return seal in ("", sha256_hex(self._store.get(evidence_key(sha256, kind, number))))

    def _reckon(self, project: str, sha256: str, kind: str) -> Verdict | None:
        """Derive and write a missing verdict; None without evidence."""
        number = self._count(sha256, kind)
        return (number, self._judge(project, self.read(sha256, kind, number), number)) if number else None

    def _judge(self, project: str, evidence: Evidence, number: int) -> bool:
        good = passed(evidence.body, evidence.sha256)
        verdict = _verdict_key(project, evidence.sha256, evidence.kind, number, good=good)
        if self._store.size(verdict) is None:
            stored = self._store.get(evidence_key(evidence.sha256, evidence.kind, number))
            self._store.create(verdict, sha256_hex(stored).encode())
        return good

    def _count(self, sha256: str, kind: str) -> int:
        """The number of the newest evidence, which is at least the count: numbers can be missing."""
        return max((serial_of(key) for key in keys(self._store, f"evidence/{sha256}/{kind}/")), default=0)


def _same(one: object, other: object) -> bool:
    """Whether two bodies are the same JSON. Python's ``==`` would take ``1`` and ``true`` for equal."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)


def _verdict_key(project: str, sha256: str, kind: str, number: int, *, good: bool) -> str:
    return f"verdicts/{project}/{sha256}.{kind}.{number}.{'passed' if good else 'failed'}"


def evidence_key(sha256: str, kind: str, number: int) -> str:
    """The key of a piece of evidence."""
    return f"evidence/{sha256}/{kind}/{number}.json"
