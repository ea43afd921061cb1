"""Answers what is below ``/tuf/`` and ``/integrity/``: signed documents, and what they lead to.

``timestamp.json`` is made anew where a journal went on or the document lives no longer than half of its time. All
other documents have a version or a hash in their names and never change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.utils import canonicalize_name

from index_server.catalog.catalog import Catalog
from index_server.catalog.journal import Journal, journal_key
from index_server.catalog.marks import STATUS as STATUS_JOURNAL
from index_server.catalog.recording import provenance_key
from index_server.errors import DamagedError, MissingObjectError, NotFoundError
from index_server.intake.attestations import MEDIA as INTEGRITY
from index_server.model import EntryT, sha256_hex
from index_server.pages.answers import Text
from index_server.pages.files import StoredFile
from index_server.trust.repository import Repository, document_key, policy_key
from index_server.trust.roles import STATUS

LOOK_EVERY = 1.0  # seconds between looks whether there is something to sign
MOST_ENTRIES = 10_000  # of one answer
_JSON, _LINES = "application/json", "application/x-ndjson"
_DOCUMENT = re.compile(r"([1-9][0-9]{0,9})\.([a-z0-9]+(?:-[a-z0-9]+)*)\.json\Z")
_HASHED = re.compile(r"([0-9a-f]{64})\.(.+)\.json\Z")
_RANGE = re.compile(r"([1-9][0-9]{0,9})-([1-9][0-9]{0,9})\Z")
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.!+-]*\.whl\Z")
_SHARD = re.compile(r"([0-9a-f]{64})\.json\Z")


class Signed:
    """What is signed, as files for a TUF client."""

    def __init__(self, catalog: Catalog, repository: Repository) -> None:
        self._catalog = catalog
        self._repository = repository

    def find(self, parts: Sequence[str]) -> Text | StoredFile:
        """The answer to a path below ``/tuf/``.

        Raises:
            NotFoundError: there is no such document.
        """
        match parts:
            case ["timestamp.json"]:
                self._repository.refresh_quietly(LOOK_EVERY)
                newest = self._repository.newest("timestamp")
                if not newest:
                    raise NotFoundError("this index signs nothing")
                return Text(200, self._catalog.store.get(document_key("timestamp", newest)), _JSON)
            case [name] if found := _DOCUMENT.match(name):
                return self._stored(document_key(found[2], int(found[1])))
            case ["targets", name] if found := _HASHED.match(name):
                if found[2] == STATUS:
                    return self._last(self._catalog.status.journal, found[1])
                return self._stored(policy_key(found[1]))
            case ["targets", "channels", name] if (found := _HASHED.match(name)) and found[
                2
            ] in self._catalog.channels:
                return self._last(self._catalog.journal(found[2]), found[1])
            case ["targets", "snapshots", name] if found := _HASHED.match(name):
                return self._stored(f"snapshots/{found[2]}.json")
            case ["journal", name, asked] if found := _RANGE.match(asked):
                journal = STATUS_JOURNAL if name == STATUS else name
                if name == STATUS or name in self._catalog.channels:
                    return self._entries(journal, int(found[1]), int(found[2]))
            case ["snapshots", name] if re.match(r"[0-9]{8}-[1-9][0-9]*\.json\Z", name):
                return self._stored(f"snapshots/{name}")
            case ["shards", name] if _SHARD.match(name):
                return self._stored(f"shards/{name}")
        raise NotFoundError("there is no such document")

    def provenance(self, parts: Sequence[str]) -> StoredFile:
        """The provenance object of a file (:pep:`740`), by ``PROJECT/VERSION/FILENAME/provenance``.

        Raises:
            NotFoundError: there is none.
        """
        match parts:
            case [project, version, filename, "provenance"] if _WHEEL.match(filename):
                record = self._catalog.find_record(canonicalize_name(project), filename)
                if record is not None and record.version == version and record.provenance_sha256 is not None:
                    return self._stored(provenance_key(record.provenance_sha256), INTEGRITY)
        raise NotFoundError("there is no provenance of such a file")

    def _stored(self, key: str, media: str = _JSON) -> StoredFile:
        size = self._catalog.store.size(key)
        if size is None:
            raise NotFoundError("there is no such document")
        digest = sha256_hex(key.encode())  # of the key, whose bytes never change
        return StoredFile(key, size, f'"{digest[:32]}"', media, (digest, key.rpartition("/")[2]))

    def _last(self, journal: Journal[EntryT], sha256: str) -> Text:
        """The entry of this hash, which is one of the last of its journal."""
        for serial in range(journal.serial, max(journal.serial - 16, 0), -1):
            data = self._catalog.store.get(journal_key(journal.name, serial))
            if sha256_hex(data) == sha256:
                return Text(200, data, _JSON)
        raise NotFoundError("there is no such document")

    def _entries(self, journal: str, first: int, last: int) -> Text:
        """Entries of a journal as they are stored, one on each line."""
        if last - first >= MOST_ENTRIES:
            raise NotFoundError(f"at most {MOST_ENTRIES} entries are given at a time")
        lines = []
        for serial in range(first, last + 1):
            key = journal_key(journal, serial)
            try:
                lines.append(self._catalog.store.get(key))
            except MissingObjectError as error:
                if serial == first:
                    raise NotFoundError("there is no such entry") from error
                raise DamagedError(key, "it is missing") from error
        return Text(200, b"".join(line + b"\n" for line in lines), _LINES)
