"""The page about one file: reads what :mod:`index_server.pages.wheel` shows."""

from __future__ import annotations

import logging
import zipfile
from functools import lru_cache

from packaging.utils import canonicalize_name

from index_server.catalog.catalog import Catalog
from index_server.errors import StoreError
from index_server.model import Record
from index_server.pages.contents import Contents, read_contents
from index_server.pages.promises import Promises
from index_server.pages.wheel import wheel_page

_log = logging.getLogger(__name__)
REMEMBERED = 256  # wheels whose contents stay in memory


class About:
    """The pages about files, of one process."""

    def __init__(self, catalog: Catalog, promises: Promises) -> None:
        self._catalog = catalog
        self._promises = promises
        self._contents = lru_cache(maxsize=REMEMBERED)(self._read)

    def page(self, sha256: str) -> bytes:
        """Return the page of a file.

        Raises:
            NotFoundError: no file has this sha256.
        """
        shelf = self._catalog.evidence
        filename = shelf.filename(sha256)
        found = {kind: shelf.find(sha256, kind) for kind in shelf.kinds(sha256)}
        bodies = {kind: evidence.body for kind, evidence in found.items() if evidence is not None}
        record = self._catalog.find_record(canonicalize_name(filename.partition("-")[0]), filename)
        if record is None or record.sha256 != sha256:
            return wheel_page(filename, sha256, bodies)
        self._promises.look()
        return wheel_page(
            filename,
            sha256,
            bodies,
            record,
            until=self._promises.of_file(record),
            contents=self._contents(record),
        )

    def _read(self, record: Record) -> Contents | None:
        """What a wheel says of itself; None if it cannot be read at the moment."""
        store, key = self._catalog.store, self._catalog.stored_key(record.sha256, record.filename)
        try:
            return read_contents(record.size, lambda start, stop: store.read(key, start, stop))
        except (OSError, StoreError, zipfile.BadZipFile) as error:
            _log.warning("%s: its contents are not shown: %s", record.filename, error)
            return None
