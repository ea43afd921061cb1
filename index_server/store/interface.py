"""The interface of the object store, the only state that servers share.

Every implementation gives these guarantees:

* ``create`` writes complete objects and never replaces one. Of several writers, only one gets ``True``.
* An object survives a crash if ``create`` has returned. If ``create`` has not returned, the object is complete or
  absent.
* ``put_hint`` replaces an object. Only hints may be replaced: nothing depends on reading the newest one.
* ``scratch`` provides a local file for bytes that are being received. The file does not outlive its process.
* The methods raise :class:`StoreAwayError` if the store does not answer, and :class:`NoSpaceError` if it is full.
  They never report a failure as absence. :mod:`index_server.store.guard` detects that the whole store is absent.

:mod:`index_server.store.folder` implements it for servers on one machine, :mod:`index_server.store.bucket` for
servers on several.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from index_server.errors import StoreError

CHUNK = 1 << 20  # bytes that a read yields at a time
MARK = "store.json"  # the object that shows that the store is available
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SEGMENT = r"[A-Za-z0-9_!+-][A-Za-z0-9_.!+-]{0,254}"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")


class Staged(Protocol):
    """Objects that are ready to be created. Those that are not created when the context ends are dropped.

    The others survive a crash once the context has ended without an error.
    """

    def create(self, *keys: str) -> list[bool]:
        """Create prepared objects in this order, each unless its key is taken; say which of them this call wrote.

        After a crash, none is there without those that were created before it.
        """


class ObjectStore(Protocol):
    """A map from keys to objects. A key has ``/``-separated segments of letters, digits and ``_.!+-``."""

    @property
    def look_every(self) -> float:
        """Seconds between two checks whether a journal has new entries; 0 if a check is cheap."""

    @property
    def gains_together(self) -> bool:
        """Whether many objects that are staged together take as much time as one."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key exists. Return whether this call wrote it."""

    def create_from(self, key: str, path: Path) -> bool:
        """Do the same with the bytes of a closed file from :meth:`scratch`."""

    def stage(self, objects: Mapping[str, bytes | Path]) -> AbstractContextManager[Staged]:
        """Prepare several objects, given as bytes or as closed files from :meth:`scratch`.

        Preparing and creating many at once costs a store on a disk as much time as one.
        """

    def get(self, key: str) -> bytes:
        """Return all bytes of an object.

        Raises:
            MissingObjectError: there is no such object.
        """

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, or None if there is no such object."""

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to ``stop``, in chunks of at most :data:`CHUNK`.

        Raises:
            MissingObjectError: there is no such object.
        """

    def open(self, key: str) -> BinaryIO | None:
        """Return an object as an open file; None if there is no such object, or it is no file of this machine."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Return all keys below ``prefix``, sorted, including those of files that the index did not write.

        ``prefix`` ends in ``/``, or is empty for all keys.
        """

    def put_hint(self, key: str, data: bytes) -> None:
        """Write an object, and replace an existing one."""

    def remove(self, key: str) -> None:
        """Delete an object, if it exists. Only collecting and trimming may do so."""

    def written_at(self, key: str) -> datetime | None:
        """Return when an object was written, by the store's clock; None if there is no such object."""

    def scratch(self) -> AbstractContextManager[Path]:
        """Provide an empty local file, which is deleted when the context ends."""


class OneByOne:
    """Staged objects of a store that gains nothing by preparing them."""

    def __init__(self, store: ObjectStore, objects: Mapping[str, bytes | Path]) -> None:
        self._store = store
        self._objects = objects

    def create(self, *keys: str) -> list[bool]:
        written = []
        for key in keys:
            match self._objects[key]:
                case Path() as path:
                    written.append(self._store.create_from(key, path))
                case bytes() as data:
                    written.append(self._store.create(key, data))
        return written


@contextmanager
def one_by_one(store: ObjectStore, objects: Mapping[str, bytes | Path]) -> Iterator[Staged]:
    """What :meth:`ObjectStore.stage` gives for a store that gains nothing by preparing objects."""
    yield OneByOne(store, objects)


@lru_cache(maxsize=4096)  # a few keys are read for every page
def check_key(key: str) -> str:
    """Return ``key`` if it is valid.

    Raises:
        StoreError: a segment is empty, starts with a dot, is too long, or has a character that is not allowed.
    """
    if not _KEY.fullmatch(key):
        raise StoreError(f"{key!r} is not a valid key")
    return key
