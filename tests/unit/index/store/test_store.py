"""The promises of an object store, asked of every kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from index_server.errors import MissingObjectError, StoreError
from index_server.store.address import open_store
from index_server.store.folder import DirectoryStore
from index_server.store.interface import CHUNK, ObjectStore
from tests.helpers.stores import STORE_KINDS


@pytest.fixture(params=[*STORE_KINDS, "moto"])
def store(request: pytest.FixtureRequest, make_store: Callable[[str], ObjectStore]) -> ObjectStore:
    """Every kind; moto stands in for a real S3 in the fast tests."""
    return make_store(request.param)


def test_create_writes_once(store: ObjectStore) -> None:
    assert store.create("records/a/b.json", b"first")
    assert not store.create("records/a/b.json", b"second")
    assert store.get("records/a/b.json") == b"first"
    assert store.size("records/a/b.json") == 5


def test_create_from_a_scratch_file_writes_once(store: ObjectStore) -> None:
    for content, wins in ((b"x" * 3000, True), (b"y", False)):
        with store.scratch() as path:
            path.write_bytes(content)
            assert store.create_from("files/f", path) is wins
    assert store.get("files/f") == b"x" * 3000


def test_a_missing_object_has_no_size_and_cannot_be_read(store: ObjectStore) -> None:
    assert store.size("files/none") is None
    assert list(store.keys("files/")) == []
    with pytest.raises(MissingObjectError):
        store.get("files/none")
    with pytest.raises(MissingObjectError):
        list(store.read("files/none", 0, 1))


def test_a_key_below_an_object_is_not_there(store: ObjectStore) -> None:
    store.create("files/f", b"")
    assert store.size("files/f/g") is None


def test_a_range_is_read_without_the_rest(store: ObjectStore) -> None:
    data = os.urandom(2 * CHUNK + 17)
    store.create("files/f", data)
    for start, stop in ((0, len(data)), (5, 9), (CHUNK - 1, CHUNK + 1), (7, 7), (len(data) - 1, len(data))):
        assert b"".join(store.read("files/f", start, stop)) == data[start:stop]


def test_keys_are_sorted_and_below_the_prefix(store: ObjectStore) -> None:
    for key in ("journal/b/2.json", "journal/b/1.json", "journal/bb/1.json", "journal/a/x/1.json"):
        store.create(key, b"")
    assert list(store.keys("journal/b/")) == ["journal/b/1.json", "journal/b/2.json"]
    assert list(store.keys("journal/")) == [
        "journal/a/x/1.json",
        "journal/b/1.json",
        "journal/b/2.json",
        "journal/bb/1.json",
    ]


def test_hints_are_replaced(store: ObjectStore) -> None:
    store.put_hint("channels/a.json", b"1")
    store.put_hint("channels/a.json", b"2")
    assert store.get("channels/a.json") == b"2"


def test_what_is_removed_is_gone(store: ObjectStore) -> None:
    store.create("files/a/f", b"1")
    for _ in range(2):
        store.remove("files/a/f")
    assert store.size("files/a/f") is None
    assert store.create("files/a/f", b"2")


def test_when_an_object_was_written(store: ObjectStore) -> None:
    assert store.written_at("files/f") is None
    store.create("files/f", b"1")
    written = store.written_at("files/f")
    assert written is not None
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", ".tmp/a", "a/.", "a\0b", "a b", "a/", "a" * 256])
def test_what_cannot_be_a_key(store: ObjectStore, key: str) -> None:
    for act in (store.size, store.get, lambda key: store.create(key, b"")):
        with pytest.raises(StoreError):
            act(key)


def test_one_writer_of_many_wins(store: ObjectStore, request: pytest.FixtureRequest) -> None:
    if "moto" in request.node.name:
        pytest.skip("moto looks and writes in two steps; a real S3 is held to this")
    for number in range(4):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda me, n=number: store.create(f"journal/{n}", b"%d" % me), range(8)))
        assert won.count(True) == 1
        assert store.get(f"journal/{number}") == b"%d" % won.index(True)


def test_scratch_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)

    def fail() -> None:
        with store.scratch() as path:
            path.write_bytes(b"half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    store.create("a", b"")
    store.put_hint("b", b"")
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_sweeping_takes_the_files_of_the_dead_alone(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from index_server.store.folder import DirectoryStore\n"
        "with DirectoryStore(pathlib.Path(sys.argv[1])).scratch() as path:\n"
        "    path.write_bytes(b'half'); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(list((tmp_path / ".tmp").iterdir())) == 1
    living = DirectoryStore(tmp_path)
    assert list((tmp_path / ".tmp").iterdir()) == []
    with living.scratch() as path:
        DirectoryStore(tmp_path)
        assert path.exists()


@pytest.mark.parametrize("address", ["", "file:", "s4:bucket", "somewhere"])
def test_an_address_of_no_known_kind(address: str) -> None:
    with pytest.raises(StoreError, match="is not a store address"):
        open_store(address)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        open_store(f"file:{tmp_path / 'file'}")


def test_staged_objects_are_written_once_and_only_when_created(store: ObjectStore) -> None:
    store.create("records/b", b"taken")
    with store.scratch() as path:
        path.write_bytes(b"wheel")
        objects: dict[str, bytes | Path] = {
            "files/w": path,
            "records/a": b"1",
            "records/b": b"2",
            "records/c": b"3",
        }
        with store.stage(objects) as staged:
            assert list(store.keys("files/")) == []
            assert staged.create("files/w", "records/a", "records/b") == [True, True, False]
            assert staged.create("records/a") == [False]
    assert list(store.keys("")) == ["files/w", "records/a", "records/b"]
    assert [store.get(key) for key in store.keys("")] == [b"wheel", b"1", b"taken"]
    with store.stage({}) as staged:
        assert staged.create() == []
