"""A store that is away is told from one that is empty."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from index_server.errors import MissingObjectError, ReadOnlyStoreError, StoreAwayError, StoreError
from index_server.store.address import open_store
from index_server.store.folder import DirectoryStore
from index_server.store.guard import BELIEVED, GuardedStore, guarded
from index_server.store.interface import MARK, ObjectStore

LOOKS: dict[str, Callable[[ObjectStore], object]] = {
    "size": lambda store: store.size("records/none"),
    "get": lambda store: store.get("records/none"),
    "read": lambda store: list(store.read("records/none", 0, 1)),
    "keys": lambda store: list(store.keys("records/")),
    "written_at": lambda store: store.written_at("records/none"),
}


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def empty(store: ObjectStore) -> dict[str, bytes]:
    """Take everything out of a store; gives what was in it."""
    held = {key: store.get(key) for key in store.keys("")}
    for key in held:
        store.remove(key)
    return held


@pytest.fixture(params=["directory", "moto"])
def inner(request: pytest.FixtureRequest, make_store: Callable[[str], ObjectStore]) -> ObjectStore:
    return make_store(request.param)


@pytest.mark.parametrize("look", LOOKS)
def test_an_emptied_store_is_away_until_it_is_back(inner: ObjectStore, look: str) -> None:
    clock = Clock()
    store = GuardedStore(inner, "the store", clock)
    store.create("records/a", b"1")
    held = empty(inner)
    with pytest.raises(StoreAwayError, match="its mark is missing"):
        LOOKS[look](store)
    for key, data in held.items():
        inner.create(key, data)
    if look in ("get", "read"):
        with pytest.raises(MissingObjectError):
            LOOKS[look](store)
    else:
        assert LOOKS[look](store) in (None, ["records/a"])


def test_what_is_there_is_never_asked_for_its_mark(inner: ObjectStore) -> None:
    store = GuardedStore(inner, "the store")
    store.create("records/a", b"1")
    inner.remove(MARK)
    assert (store.size("records/a"), store.get("records/a")) == (1, b"1")
    assert list(store.read("records/a", 0, 1)) == [b"1"]


def test_a_store_over_a_network_is_believed_for_a_moment(make_store: Callable[[str], ObjectStore]) -> None:
    clock = Clock()
    inner = make_store("moto")
    store = GuardedStore(inner, "the store", clock)
    assert store.size("records/none") is None
    inner.remove(MARK)
    assert store.size("records/none") is None
    clock.now += BELIEVED + 0.01
    with pytest.raises(StoreAwayError):
        store.size("records/none")


def test_another_store_in_its_place_is_not_taken_for_it(inner: ObjectStore) -> None:
    clock = Clock()
    store = GuardedStore(inner, "the store", clock)
    empty(inner)
    GuardedStore(inner, "another")
    with pytest.raises(StoreAwayError, match="another store"):
        store.size("records/none")


def test_a_mark_that_was_damaged_or_copied_is_still_one(inner: ObjectStore) -> None:
    clock = Clock()
    store = GuardedStore(inner, "the store", clock)
    mark = inner.get(MARK)
    inner.remove(MARK)
    inner.create(MARK, mark)
    assert store.size("records/none") is None
    inner.remove(MARK)
    inner.create(MARK, mark[:-5])
    clock.now += 1
    assert store.size("records/none") is None
    assert GuardedStore(inner, "the store").size("records/none") is None


def test_the_mark_is_made_once(inner: ObjectStore) -> None:
    first = GuardedStore(inner, "the store")
    inner.create("records/a", b"1")
    assert GuardedStore(inner, "the store").id == first.id
    inner.remove(MARK)  # a store from before there were marks
    assert GuardedStore(inner, "the store").id not in (None, first.id)


def test_a_store_of_another_id_is_refused(inner: ObjectStore) -> None:
    with pytest.raises(StoreError, match="has no id, and ARMWHEELS_STORE_ID is 00"):
        guarded(inner, "the store", "0" * 32)
    known = guarded(inner, "the store", None).id
    assert guarded(inner, "the store", known).id == known
    with pytest.raises(StoreError, match=f"has the id {known}"):
        guarded(inner, "the store", "0" * 32)


# Folders


def test_an_unmounted_folder_is_not_filled(tmp_path: Path) -> None:
    """What is below the mount point is another folder, and stays as it is."""
    root = tmp_path / "store"
    store = open_store(f"file:{root}")
    with store.scratch() as path:
        path.write_bytes(b"1")
        root.rename(tmp_path / "disk")
        for present in (False, True):  # no folder at all, or the empty one that was mounted over
            if present:
                root.mkdir()
            for act in (
                lambda: store.create("records/a", b"1"),
                lambda: store.create_from("files/a", path),
                lambda: store.put_hint("channels/a.json", b"1"),
                lambda: store.scratch().__enter__(),
                lambda: store.size("records/a"),
            ):
                with pytest.raises(StoreAwayError):
                    act()
            assert root.exists() == present
        assert list(root.iterdir()) == []


def test_a_disk_that_fails_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    for key in ("records/a/1", "records/b/1"):
        store.create(key, b"1")
    honest = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith("records/b"):
            raise OSError(code, os.strerror(code), str(path))
        return honest(path)

    monkeypatch.setattr(os, "scandir", failing)
    for code in (errno.EIO, errno.ENOENT, errno.ESTALE):  # noqa: B007 - `failing` raises it
        with pytest.raises(StoreAwayError):
            list(store.keys("records/"))

    def broken(path: str) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, "stat", broken)
    for look in (store.size, store.written_at, store.version):
        with pytest.raises(StoreAwayError):
            look("records/a/1")


def test_a_read_only_store_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a leftover of a crash, and one that is older than marks."""
    root = tmp_path / "store"
    DirectoryStore(root).create("records/a", b"1")
    (root / ".tmp" / "left").write_bytes(b"")
    honest = os.open

    def read_only(path: object, flags: int, *args: object, **kwargs: object) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return honest(path, flags, *args, **kwargs)  # type: ignore[arg-type] # passed on as it came

    monkeypatch.setattr(os, "open", read_only)
    store = guarded(DirectoryStore(root), "the store", None)
    assert store.id is None
    assert store.get("records/a") == b"1"
    assert store.size("records/b") is None
    for write in (lambda: store.create("records/b", b""), lambda: store.put_hint("channels/a.json", b"")):
        with pytest.raises(ReadOnlyStoreError):
            write()
    root.rename(tmp_path / "away")
    root.mkdir()
    with pytest.raises(StoreAwayError):
        store.size("records/b")


def test_a_store_is_closed_to_other_users(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "new" / "store")
    store.create("records/a/b.json", b"1")
    store.put_hint("channels/a.json", b"1")
    modes = {path: path.stat().st_mode & 0o777 for path in store.root.rglob("*")}
    assert set(modes.values()) == {0o700, 0o600}
    assert list(store.exposed()) == []
    store.root.chmod(0o755)
    [said] = store.exposed()
    assert "chmod -R go=" in said
