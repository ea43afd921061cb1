"""Records checked files and adds them to sessions (rules 1 and 2 of :mod:`index_server.catalog.catalog`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from index_server.catalog.sessions import Sessions
from index_server.catalog.tombstones import Tombstones, generation_key
from index_server.errors import ConflictError, DamagedError, RequestError
from index_server.model import File, FilePointer, Record, stamp
from index_server.rules.collected import Collected
from index_server.store.interface import ObjectStore
from index_server.store.objects import find, read

Outcome = Record | RequestError


def record_key(project: str, filename: str) -> str:
    """The key of a file's record."""
    return f"records/{project}/{filename}.json"


def build_key(wheel_digest: str, project: str) -> str:
    """The key of the pointer from a wheel digest to the wheel of a project."""
    return f"builds/{wheel_digest}/{project}.json"


def provenance_key(sha256: str) -> str:
    """The key of a provenance object (:pep:`740`)."""
    return f"attestations/{sha256}.json"


@dataclass(frozen=True)
class CheckedFile:
    """A checked file that is to be recorded."""

    record: Record
    metadata: bytes
    content: Path | bytes  # the file's bytes, or a closed file from the store's ``scratch``
    session: str
    provenance: bytes | None = None

    @property
    def file(self) -> File:
        return self.record.sha256, self.record.filename

    @property
    def record_key(self) -> str:
        return record_key(self.record.project, self.record.filename)

    @property
    def attested(self) -> dict[str, bytes | Path]:
        """The provenance object, under its hash."""
        if self.provenance is None or self.record.provenance_sha256 is None:
            return {}
        return {provenance_key(self.record.provenance_sha256): self.provenance}

    @property
    def pointer(self) -> dict[str, bytes]:
        """The pointer from a tuned wheel's digest to the file."""
        record = self.record
        if record.tuned is None:
            return {}
        pointer = FilePointer(project=record.project, filename=record.filename)
        return {build_key(record.tuned.wheel_digest, record.project): pointer.encode()}


class Recorder:
    """Records files. Several threads and processes may record the same ones."""

    def __init__(
        self, store: ObjectStore, sessions: Sessions, tombs: Tombstones, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._tombs = tombs
        self._now = now

    def record(self, files: Sequence[CheckedFile]) -> list[Outcome]:
        """Record files and add each to its session. Return for each the stored record, or why it is refused.

        All are written together, which costs a store on a disk as much time as one.

        Raises:
            StoreError: the store fails. Some of the files may be recorded.
        """
        outcomes: dict[int, Outcome] = {}
        left = dict(enumerate(files))
        while left:
            together: dict[int, CheckedFile] = {}
            taken: set[str] = set()
            for number, file in left.items():
                keys = {file.record_key, *file.pointer}
                if taken.isdisjoint(keys):  # else it waits until the first file of this name is recorded
                    together[number] = file
                    taken |= keys
            outcomes |= self._record(together)
            left = {number: file for number, file in left.items() if number not in outcomes}
        return [outcomes[number] for number in range(len(files))]

    def _record(self, files: Mapping[int, CheckedFile]) -> dict[int, Outcome]:
        """Record files that share no key."""
        outcomes: dict[int, Outcome] = {}
        session_fault = cache(self._session_fault)
        collected = self._tombs.look()
        objects: dict[int, dict[str, bytes | Path]] = {}
        links: dict[int, dict[str, bytes | Path]] = {}
        for number, file in files.items():
            fault = session_fault(file.session) or self._name_fault(file)
            if fault is not None:
                outcomes[number] = fault
                continue
            objects[number] = {
                **self._contents(file, collected),
                **file.attested,
                file.record_key: file.record.encode(),
            }
            links[number] = dict([*file.pointer.items(), self._sessions.entry(file.record, file.session)])
        parts = (*objects.values(), *links.values())
        with self._store.stage({key: data for part in parts for key, data in part.items()}) as staged:
            for number, part in objects.items():
                [*_, first] = staged.create(*part)
                outcomes[number] = files[number].record if first else self._standing(files[number])
            for number, part in links.items():
                if isinstance(outcomes[number], Record):
                    staged.create(*part)
        collected = self._tombs.look()
        for number, file in files.items():
            if isinstance(outcomes[number], Record) and file.file in collected.gone:
                self._write_again(file)  # collected before the collector could see the session's entry
        return outcomes

    def _session_fault(self, session: str) -> RequestError | None:
        try:
            self._sessions.refuse_discarded(session)
        except (ConflictError, DamagedError) as error:
            return error
        return None

    def _name_fault(self, file: CheckedFile) -> RequestError | None:
        """Return why the name is refused before anything is written."""
        try:
            standing = find(self._store, Record, file.record_key)
        except DamagedError as error:
            return error
        return _other_bytes(standing, file.record) if standing else None

    def _standing(self, file: CheckedFile) -> Outcome:
        """Return the record that another writer stored under the name, or why the file is refused."""
        try:
            standing = read(self._store, Record, file.record_key)
        except DamagedError as error:
            return error
        return _other_bytes(standing, file.record) or standing

    def _contents(self, file: CheckedFile, collected: Collected) -> dict[str, bytes | Path]:
        """Return the objects of a file. Those of a collected file are written at once, and none are left."""
        if file.file in collected.gone:
            self._write_again(file)
            return {}
        key = generation_key(file.file, collected.generation(file.file))
        return {key: file.content, f"{key}.metadata": file.metadata}

    def _write_again(self, file: CheckedFile) -> None:
        """Write a collected file and its metadata as the next generation (rule 12)."""
        while (mark := self._tombs.look().gone.get(file.file)) is not None:
            generation = mark.tomb.generation + 1
            key = generation_key(file.file, generation)
            with self._store.stage({key: file.content, f"{key}.metadata": file.metadata}) as staged:
                staged.create(key, f"{key}.metadata")
            again = mark.tomb.model_copy(update={"generation": generation})
            self._tombs.restore(again, at=stamp(self._now()), by=file.record.uploaded_by)


def _other_bytes(standing: Record, record: Record) -> ConflictError | None:
    if standing.sha256 == record.sha256:
        return None
    return ConflictError(
        f"{record.filename} already exists with other bytes (sha256 {standing.sha256}); "
        "a name never changes its meaning, so publish the new build under a new build tag or version",
        sha256=standing.sha256,
    )
