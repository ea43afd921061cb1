"""Files and folders are complete or absent: when two processes make them, when one is killed, when one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.whole import create_in_place, create_once, write_bytes, write_text

# Makes a folder of two files and stops between them until the file `go` exists; the first argument is the folder.
MAKER = """
import sys, time
from pathlib import Path
from builder.whole import create_once

final = Path(sys.argv[1])

def create(folder):
    with (final.parent / "calls").open("a") as calls:
        calls.write("call\\n")
    folder.mkdir()
    (folder / "first").write_text("1")
    while not (final.parent / "go").exists():
        time.sleep(0.01)
    (folder / "second").write_text("2")

create_once(final, create)
assert sorted(path.name for path in final.iterdir()) == ["first", "second"]
"""


def _start(final: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MAKER, str(final)], cwd=Path(__file__).parents[3])


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _temporary(final: Path) -> list[Path]:
    return [path for path in final.parent.iterdir() if path.name.startswith(f".{final.name}.tmp-")]


def _half_made(final: Path) -> bool:
    return any((path / final.name / "first").is_file() for path in _temporary(final))


def _folder_of_one_file(path: Path) -> None:
    path.mkdir()
    (path / "file").write_text("text")


def test_of_two_processes_one_makes_the_folder_and_the_other_uses_it(tmp_path: Path) -> None:
    final = tmp_path / "state/tool"
    first = _start(final)
    _wait_until(lambda: final.parent.is_dir() and _half_made(final))
    second = _start(final)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=1)
    assert not final.exists()
    (final.parent / "go").touch()
    assert (first.wait(timeout=30), second.wait(timeout=30)) == (0, 0)
    assert (final.parent / "calls").read_text() == "call\n"
    assert _temporary(final) == []


def test_a_killed_process_leaves_no_folder_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    final = tmp_path / "tool"
    killed = _start(final)
    _wait_until(lambda: _half_made(final))
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=30)
    assert not final.exists()
    assert len(_temporary(final)) == 1
    (tmp_path / "go").touch()
    assert _start(final).wait(timeout=30) == 0
    assert final.is_dir()
    assert _temporary(final) == []


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.mkdir()
        (path.parent / "scratch").write_text("x")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        create_once(tmp_path / "tool", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["tool.lock"]


@pytest.mark.parametrize("durable", [False, True])
def test_what_exists_is_not_made_again(tmp_path: Path, durable: bool) -> None:
    final = create_once(tmp_path / "a/b", _folder_of_one_file, durable=durable)
    (final / "file").write_text("kept")
    assert create_once(final, _folder_of_one_file, durable=durable) == final
    assert (final / "file").read_text() == "kept"


def test_a_leftover_of_a_similar_name_is_another_processs_folder(tmp_path: Path) -> None:
    other = tmp_path / ".zlib-ng.tmp-abc"
    own = tmp_path / ".zlib.tmp-abc"
    other.mkdir()
    own.mkdir()
    create_once(tmp_path / "zlib", _folder_of_one_file)
    assert other.is_dir()
    assert not own.exists()


def test_files_are_on_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name, (tmp_path / "wheel").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    create_once(tmp_path / "wheel", _folder_of_one_file, durable=True)
    assert synced == [("file", False), ("wheel", False), (tmp_path.name, True)]
    synced.clear()
    write_text(tmp_path / "report", "text")
    assert [name for name, _ in synced] == ["report", tmp_path.name]


def test_a_marker_says_that_a_folder_made_in_place_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "envs/env"
    calls = []

    def create() -> None:
        calls.append(1)
        folder.mkdir(exist_ok=True)
        if len(calls) == 1:
            raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        create_in_place(folder, create)
    assert create_in_place(folder, create) == folder
    create_in_place(folder, create)
    assert len(calls) == 2
    create_in_place(folder, create, marker=".more")
    assert len(calls) == 3


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a/pins.json"
    write_text(path, "old ä")
    reader = path.open(encoding="utf-8")
    write_bytes(path, b"new")
    with reader:
        assert reader.read() == "old ä"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_old_temporary_files_are_deleted_and_those_of_another_writer_are_not(tmp_path: Path) -> None:
    old, new = tmp_path / ".pins.tmp-old", tmp_path / ".pins.tmp-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "pins").write_text("half")
    long_ago = time.time() - 2 * 3600
    os.utime(old, (long_ago, long_ago))
    write_text(tmp_path / "pins", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".pins.tmp-new", "pins"]
