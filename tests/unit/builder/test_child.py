"""A function in a child process: its answer, its errors, and its end with the parent's."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from builder.child import Report, call_in_child
from builder.errors import RepairError, SourceError, StoppedError, as_disk_error


def _process(folder: Path, report: Report) -> tuple[int, str, int, str]:
    """Changes its own process in every way that auditwheel does."""
    report(f"in {folder.name}")
    sys.stdout.write("not an answer\n")
    os.chdir(folder)
    before = os.umask(0)
    os.environ["CHANGED"] = "yes"
    return os.getpid(), str(Path.cwd()), before, os.environ["GIVEN"]


def _fail(error: Exception, report: Report) -> None:
    raise error


def _die(how: signal.Signals, report: Report) -> None:
    os.kill(os.getpid(), how)


def _wait(marker: Path, report: Report) -> None:
    marker.write_text(str(os.getpid()))
    report("waiting")
    time.sleep(60)


def _call(function: Callable[..., object], *given: object, report: Report = lambda line: None) -> object:
    return call_in_child(
        partial(function, *given), report=report, failure=RepairError, variables={"GIVEN": "value"}
    )


def test_the_function_changes_its_own_process_and_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, umask = Path.cwd(), os.umask(0o077)
    lines: list[str] = []
    try:
        pid, where, before, given = _call(_process, tmp_path, report=lines.append)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)
    assert (where, before, given) == (str(tmp_path), 0o022, "value")
    assert pid != os.getpid()
    assert (Path.cwd(), "CHANGED" in os.environ, "GIVEN" in os.environ) == (folder, False, False)
    assert lines == [f"in {tmp_path.name}"]
    assert capfd.readouterr() == ("", "not an answer\n")


def test_errors_keep_their_class_and_message() -> None:
    with pytest.raises(SourceError, match=r"^the hash differs$"):
        _call(_fail, SourceError("the hash differs"))
    with pytest.raises(OSError, match="No space") as full:
        _call(_fail, OSError(errno.ENOSPC, "No space left on device", "/x"))
    assert as_disk_error(full.value) is not None
    with pytest.raises(KeyError) as fault:
        _call(_fail, KeyError("name"))
    assert "in _fail" in "".join(fault.value.__notes__)


def test_a_child_that_is_killed_is_a_failure_with_its_signal() -> None:
    with pytest.raises(RepairError, match="_die ended with -9 and no result"):
        _call(_die, signal.SIGKILL)


def test_an_error_of_the_parent_ends_the_child(tmp_path: Path) -> None:
    def stop(line: str) -> None:
        raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        _call(_wait, tmp_path / "pid", report=stop)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_an_interrupt_of_the_parent_ends_the_child(tmp_path: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    interrupt = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _call(_wait, tmp_path / "pid", report=lambda line: interrupt.start())
    finally:
        signal.signal(signal.SIGINT, before)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_python_that_does_not_start_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RepairError, match="ended with 1 and no result"):
        _call(_wait, Path())
