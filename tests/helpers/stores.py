"""Stores for tests: one in memory, and a wrapper that kills its caller at a chosen call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import BinaryIO

import pytest
from moto import mock_aws

from index_server.errors import MissingObjectError
from index_server.store.bucket import S3Store
from index_server.store.interface import CHUNK, ObjectStore, Staged, check_key, one_by_one
from scripts.seaweed import BUCKET, Seaweed, s3_client

STORE_KINDS = ["directory", "memory", pytest.param("seaweed", marks=pytest.mark.slow)]


class MemoryStore:
    """The promises of an object store, kept in a dictionary."""

    look_every = 0.0
    gains_together = True

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = Lock()

    def create(self, key: str, data: bytes) -> bool:
        with self._lock:
            if check_key(key) in self.objects:
                return False
            self.objects[key] = data
            return True

    def create_from(self, key: str, path: Path) -> bool:
        return self.create(key, path.read_bytes())

    def stage(self, objects: Mapping[str, bytes | Path]) -> AbstractContextManager[Staged]:
        return one_by_one(self, objects)

    def get(self, key: str) -> bytes:
        try:
            return self.objects[check_key(key)]
        except KeyError:
            raise MissingObjectError(key) from None

    def size(self, key: str) -> int | None:
        data = self.objects.get(check_key(key))
        return None if data is None else len(data)

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        data = self.get(key)[start:stop]
        return (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))

    def open(self, key: str) -> None:
        """Return None: objects in memory are no files."""

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def put_hint(self, key: str, data: bytes) -> None:
        self.objects[check_key(key)] = data

    def remove(self, key: str) -> None:
        self.objects.pop(check_key(key), None)

    def written_at(self, key: str) -> datetime | None:
        return datetime.now(UTC) if check_key(key) in self.objects else None

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.NamedTemporaryFile() as file:
            yield Path(file.name)


@contextmanager
def moto_store(scratch: Path) -> Iterator[S3Store]:
    """The S3 store over moto, which keeps objects in memory."""
    with mock_aws():
        client = s3_client()
        client.create_bucket(Bucket=BUCKET)
        yield S3Store(client, BUCKET, "some/prefix", scratch)


def seaweed_store(seaweed: Seaweed, scratch: Path) -> S3Store:
    """The S3 store over SeaweedFS, below a prefix of its own."""
    return S3Store(seaweed.client(), BUCKET, f"tests/{token_hex(8)}", scratch)


class KilledError(BaseException):
    """The process died here; nothing may catch this."""


class DyingStore:
    """Passes calls on until the fuse has burnt down, then dies before or after the next one.

    ``rival`` is called once, just before an object below ``rival_prefix`` is created: another process that
    was a little faster.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.look_every = inner.look_every
        self.gains_together = inner.gains_together
        self.fuse: int | None = None
        self.after = False
        self.rival: Callable[[], object] | None = None
        self.rival_prefix = ""

    def _call(self, function: Callable[..., object], *args: object) -> object:
        if self.fuse is not None:
            if self.fuse == 0 and not self.after:
                raise KilledError
            result = function(*args)
            if self.fuse == 0:
                raise KilledError
            self.fuse -= 1
            return result
        return function(*args)

    def create(self, key: str, data: bytes) -> bool:
        if self.rival is not None and key.startswith(self.rival_prefix):
            rival, self.rival = self.rival, None
            rival()
        return bool(self._call(self.inner.create, key, data))

    def create_from(self, key: str, path: Path) -> bool:
        return bool(self._call(self.inner.create_from, key, path))

    def put_hint(self, key: str, data: bytes) -> None:
        self._call(self.inner.put_hint, key, data)

    def remove(self, key: str) -> None:
        self._call(self.inner.remove, key)

    def written_at(self, key: str) -> datetime | None:
        return self.inner.written_at(key)

    def stage(self, objects: Mapping[str, bytes | Path]) -> AbstractContextManager[Staged]:
        return one_by_one(self, objects)

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def size(self, key: str) -> int | None:
        return self.inner.size(key)

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        return self.inner.read(key, start, stop)

    def open(self, key: str) -> BinaryIO | None:
        return self.inner.open(key)

    def keys(self, prefix: str) -> Iterator[str]:
        return self.inner.keys(prefix)

    def scratch(self) -> AbstractContextManager[Path]:
        return self.inner.scratch()
