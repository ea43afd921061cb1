"""The object store: the one thing replicas share.

The interface is small so that every kind can keep the same promises:

* ``create`` writes whole objects and never over an existing one; of many writers one alone gets ``True``.
* What ``create`` acknowledged survives a crash; what it did not acknowledge is there whole or not at all.
* ``put_hint`` replaces, and only hints may be replaced: nothing depends on their being new.
* ``scratch`` lends a local file for bytes on their way in; it vanishes with its process.
* A store that does not answer is a :class:`StoreAwayError`, a full one a :class:`NoSpaceError`. No failure reads as
  absence; that the store itself may be absent is :mod:`index_server.store.guard`'s concern.

:mod:`index_server.store.folder` has the kind for one machine, :mod:`index_server.store.bucket` the kind for many.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from index_server.errors import StoreError

CHUNK = 1 << 20  # bytes handed on at a time
MARK = "store.json"  # the object that says that the store is there
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SEGMENT = re.compile(r"[A-Za-z0-9_!+-][A-Za-z0-9_.!+-]{0,254}\Z")


class Staged(Protocol):
    """Objects that are ready to be created. Those that are not created when the context ends are dropped."""

    def create(self, *keys: str) -> list[bool]:
        """Create prepared objects in this order, each unless its key is taken; say which of them this call wrote.

        They survive a crash once this returns. After an earlier crash, none is there without those before it.
        """


class ObjectStore(Protocol):
    """Objects by key. Keys are ``/``-separated segments of letters, digits and ``_.!+-``."""

    @property
    def look_every(self) -> float:
        """Seconds between a reader's looks at a journal's end; 0 where a look costs next to nothing."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken; say whether this call wrote it."""

    def create_from(self, key: str, path: Path) -> bool:
        """The same with the bytes of a closed file from :meth:`scratch`."""

    def stage(self, objects: Mapping[str, bytes | Path]) -> AbstractContextManager[Staged]:
        """Prepare several objects, given as bytes or as closed files from :meth:`scratch`.

        Preparing and creating many at once costs a store on a disk as much time as one.
        """

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            MissingObjectError: there is none.
        """

    def size(self, key: str) -> int | None:
        """The object's size in bytes, or None where there is none."""

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``stop``, in chunks of at most :data:`CHUNK`.

        Raises:
            MissingObjectError: there is none.
        """

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below ``prefix``, sorted, with what strays there; it ends in ``/``, or is empty for all."""

    def put_hint(self, key: str, data: bytes) -> None:
        """Write an object, whether or not the key is taken."""

    def remove(self, key: str) -> None:
        """Take an object away; it being gone already is no error. For collection alone."""

    def written_at(self, key: str) -> datetime | None:
        """When the object was written by the store's clock, or None where there is none."""

    def scratch(self) -> AbstractContextManager[Path]:
        """An empty local file, removed when the context ends."""


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


def check_key(key: str) -> str:
    """Give back ``key`` if it is one.

    Raises:
        StoreError: a segment is empty, starts with a dot, or holds other characters.
    """
    if not all(_SEGMENT.match(segment) for segment in key.split("/")):
        raise StoreError(f"{key!r} cannot be a key")
    return key
