"""The folder of kept files: what it keeps, what it drops, and that a fault of its disk stops no download."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from index_server.pages.filecache import FileCache

DATA = bytes(range(256)) * 20
SHA256 = hashlib.sha256(DATA).hexdigest()
WHEEL = "thing-1.0-py3-none-any.whl"


class Store:
    """Counts reads, in chunks of 1,000 bytes."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.reads = 0

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        del key
        self.reads += 1
        for place in range(start, stop, 1000):
            yield self.data[place : min(place + 1000, stop)]


def sent(
    cache: FileCache, store: Store, sha256: str = SHA256, *, start: int = 0, stop: int = len(DATA)
) -> bytes:
    return b"".join(cache.reader(store, sha256, WHEEL, len(store.data)).read("key", start, stop))


def test_the_second_download_and_its_parts_come_from_the_folder(tmp_path: Path) -> None:
    cache, store = FileCache(tmp_path, 1 << 20), Store()
    assert sent(cache, store) == sent(cache, store) == DATA
    assert sent(cache, store, start=100, stop=3000) == DATA[100:3000]
    assert store.reads == 1
    assert cache.size(SHA256, WHEEL) == len(DATA)


def test_a_part_is_not_kept(tmp_path: Path) -> None:
    cache, store = FileCache(tmp_path, 1 << 20), Store()
    assert sent(cache, store, start=0, stop=1000) == DATA[:1000]
    assert cache.size(SHA256, WHEEL) is None


def test_an_interrupted_download_leaves_nothing(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 1 << 20)
    chunks = cache.reader(Store(), SHA256, WHEEL, len(DATA)).read("key", 0, len(DATA))
    assert next(chunks) == DATA[:1000]
    chunks.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_bytes_with_another_hash_are_sent_but_not_kept(tmp_path: Path) -> None:
    cache, store = FileCache(tmp_path, 1 << 20), Store(DATA[::-1])
    assert sent(cache, store) == DATA[::-1]
    assert cache.size(SHA256, WHEEL) is None
    assert list(tmp_path.iterdir()) == []


def test_the_files_used_last_stay(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 3 * len(DATA))
    kept = []
    for number in range(5):
        data = bytes([number]) * len(DATA)
        sha256 = hashlib.sha256(data).hexdigest()
        sent(cache, Store(data), sha256)
        kept.append(sha256)
        os.utime(tmp_path / sha256 / WHEEL, (1000 + number, 1000 + number))
        if number == 3:
            sent(cache, Store(data), kept[1])  # its use counts
    assert [cache.size(each, WHEEL) is not None for each in kept] == [False, True, False, True, True]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_above_the_limit_is_sent_and_not_kept(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, len(DATA) - 1)
    assert sent(cache, Store()) == DATA
    assert list(tmp_path.iterdir()) == []


def test_unfinished_files_of_a_killed_server_are_deleted(tmp_path: Path) -> None:
    (old := tmp_path / "a.part").write_bytes(b"x")
    (new := tmp_path / "b.part").write_bytes(b"x")
    os.utime(old, (time.time() - 4000,) * 2)
    sent(FileCache(tmp_path, 1 << 20), Store())
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_stops_no_download(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert sent(FileCache(tmp_path / "cache", 1 << 20), Store()) == DATA


def test_a_folder_that_is_a_file_stops_no_download(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    assert sent(FileCache(tmp_path / "cache", 1 << 20), Store()) == DATA
