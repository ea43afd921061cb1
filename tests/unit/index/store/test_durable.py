"""Objects are durable before they have a name, and names become durable in order."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from index_server.errors import StoreAwayError
from index_server.store import durable
from index_server.store.durable import file_system, make_durable
from index_server.store.folder import DirectoryStore


class Synced:
    """The paths that were synced below a store, and whether the object ``records/b`` had its name then."""

    def __init__(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, bool]] = []
        self.failure: OSError | None = None
        honest = os.fsync

        def noting(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(store)
            self.seen.append((path.parts[0] if path.parts else "", (store / "records/b").exists()))
            if self.failure is not None:
                raise self.failure
            honest(descriptor)

        monkeypatch.setattr(durable.os, "fsync", noting)


def _store(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DirectoryStore, Synced]:
    monkeypatch.setattr(durable, "file_system", lambda _: kind)
    store = DirectoryStore(tmp_path / "store")
    return store, Synced(store.root, monkeypatch)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_journal_of_the_whole_disk_takes_all_names_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, synced = _store(kind, tmp_path, monkeypatch)
    with store.stage({"files/a": b"1", "records/b": b"2", "records/c": b"3"}) as staged:
        assert synced.seen == [(".tmp", False)] * 3  # the bytes, before any name
        del synced.seen[:]
        staged.create("files/a", "records/b", "records/c")
    assert synced.seen == [("records", True)]  # the name made last, and so the earlier ones


def test_a_staged_name_that_is_taken_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, synced = _store("ext4", tmp_path, monkeypatch)
    store.create("records/b", b"1")
    with store.stage({"files/a": b"1", "records/b": b"2"}) as staged:
        del synced.seen[:]
        assert staged.create("files/a", "records/b") == [True, False]
    assert sorted(synced.seen) == [("files", True), ("records", True)]


@pytest.mark.parametrize("kind", ["nfs4", "btrfs", "fuse.sshfs", ""])
def test_elsewhere_each_name_is_synced_before_the_next_is_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, synced = _store(kind, tmp_path, monkeypatch)
    with store.stage({"files/a": b"1", "records/b": b"2"}) as staged:
        assert synced.seen == [(".tmp", False)] * 2
        del synced.seen[:]
        staged.create("files/a", "records/b")
    assert synced.seen == [("files", False), ("", False), ("records", True), ("", True)]


def test_a_name_that_is_taken_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, synced = _store("ext4", tmp_path, monkeypatch)
    store.create("records/b", b"1")
    del synced.seen[:]
    assert not store.create("records/b", b"2")  # its writer may have died before it did
    assert ("records", True) in synced.seen


def test_a_disk_that_fails_to_sync_refuses_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, synced = _store("ext4", tmp_path, monkeypatch)
    synced.failure = OSError(errno.EIO, "Input/output error")
    with pytest.raises(StoreAwayError, match="Input/output error"):
        store.create("records/a", b"1")
    assert not (store.root / "records/a").exists()


@pytest.mark.parametrize("bad", [0, 5, 19])
def test_one_file_of_many_that_fails_to_sync_refuses_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    store, _ = _store("ext4", tmp_path, monkeypatch)
    honest = os.fsync

    def failing(descriptor: int) -> None:
        if os.pread(descriptor, 9, 0) == b"%d" % bad:
            raise OSError(errno.EIO, "Input/output error")
        honest(descriptor)

    monkeypatch.setattr(durable.os, "fsync", failing)
    objects: dict[str, bytes | Path] = {f"records/{number}": b"%d" % number for number in range(20)}
    with pytest.raises(StoreAwayError, match="Input/output error"), store.stage(objects):
        pytest.fail("staged")
    assert list(store.keys("")) == []


def test_a_system_without_sync_file_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_start", None)
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.touch()
    make_durable(paths)


def test_the_file_system_of_a_path_is_known() -> None:
    assert file_system(Path("/proc")) == "proc"
