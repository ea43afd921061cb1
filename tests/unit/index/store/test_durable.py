"""What threads wrote becomes durable together, and not too early."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from index_server.errors import StoreAwayError
from index_server.store import durable
from index_server.store.durable import Durable, file_system
from index_server.store.folder import DirectoryStore


class SlowDisk:
    """Counts runs of syncfs, each of which waits until it may go on."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun, self.go_on = Event(), Event()
        self.failure: OSError | None = None

    def __call__(self, _: Path) -> None:
        self.runs += 1
        self.begun.set()
        assert self.go_on.wait(20)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    slow = SlowDisk()
    monkeypatch.setattr(durable, "_sync_file_system", slow)
    monkeypatch.setattr(durable, "file_system", lambda _: "ext4")
    return slow


def waiting(pool: ThreadPoolExecutor, call: Callable[[], None], number: int) -> list[Future[None]]:
    return [pool.submit(call) for _ in range(number)]


def test_a_call_waits_for_a_run_that_began_after_it(disk: SlowDisk, tmp_path: Path) -> None:
    make_durable = Durable(tmp_path)
    with ThreadPoolExecutor(9) as pool:
        [first] = waiting(pool, lambda: make_durable([]), 1)
        assert disk.begun.wait(20)
        others = waiting(pool, lambda: make_durable([]), 8)
        assert disk.runs == 1
        assert not any(each.done() for each in (first, *others))
        disk.go_on.set()
        for each in (first, *others):
            assert each.result(20) is None
    assert 2 <= disk.runs <= 3  # eight more, of which the last may have come after the second run began


def test_a_failure_reaches_all_who_waited_and_nobody_later(disk: SlowDisk, tmp_path: Path) -> None:
    make_durable = Durable(tmp_path)
    disk.failure = OSError(errno.EIO, "Input/output error")
    disk.go_on.set()
    with ThreadPoolExecutor(4) as pool:
        for each in waiting(pool, lambda: make_durable([]), 4):
            with pytest.raises(OSError, match="Input/output error"):
                each.result(20)
    disk.failure = None
    make_durable([])


def test_a_disk_that_fails_to_sync_refuses_the_object(disk: SlowDisk, tmp_path: Path) -> None:
    disk.go_on.set()
    store = DirectoryStore(tmp_path)
    disk.failure = OSError(errno.EIO, "Input/output error")
    with pytest.raises(StoreAwayError, match="Input/output error"):
        store.create("records/a", b"1")


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", ""])
def test_elsewhere_each_name_is_synced_before_the_next_is_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "file_system", lambda _: kind)
    store = DirectoryStore(tmp_path / "store")
    seen: list[tuple[str, bool]] = []
    honest = durable.sync

    def noting(path: Path) -> None:
        seen.append((path.relative_to(store.root).parts[0] if path != store.root else "", _there("b")))
        honest(path)

    def _there(name: str) -> bool:
        return (store.root / "records" / name).exists()

    monkeypatch.setattr(durable, "sync", noting)
    with store.stage({"files/a": b"1", "records/b": b"2"}) as staged:
        assert seen == [(".tmp", False)] * 2  # the bytes, before any name
        del seen[:]
        staged.create("files/a", "records/b")
    assert seen == [("files", False), ("", False), ("records", True), ("", True)]


def test_the_file_system_of_a_path_is_known() -> None:
    assert file_system(Path("/proc")) == "proc"
