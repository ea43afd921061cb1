"""A full disk ends a command with exit code 12, whichever program met it; and messages off a terminal are whole."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from builder import cli
from builder.commands import nightly
from builder.commands.terminal import make_console
from builder.errors import ArmwheelsError, CompileError, DiskError, IncompleteError, SourceError, VerifyError
from builder.index.client import Index
from builder.source import archives

FULL = os.strerror(errno.ENOSPC)


def ends_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int | str | None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "make_app", lambda _: fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CompileError(f"the build ended with 1\nfatal error: error writing to x.s: {FULL}"), 12),
        (VerifyError(f"x.whl could not be installed: {FULL} (os error 28)"), 12),
        (SourceError(f"x could not be fetched: E: Write error - write (28: {FULL})"), 12),
        (CompileError("the build ended with 1"), 6),
    ],
)
def test_a_program_that_met_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: ArmwheelsError, code: int
) -> None:
    assert ends_with(monkeypatch, error) == code
    assert ("Free some space" in capsys.readouterr().err) == (code == 12)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskError), (errno.EINVAL, SourceError)])
def test_an_archive_that_cannot_be_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[ArmwheelsError]
) -> None:
    archive = tmp_path / "demo.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("demo/empty"), io.BytesIO())

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(archives.tarfile.TarFile, "extractall", fail)
    with pytest.raises(kind):
        archives.unpack(archive, tmp_path / "tree", tmp_path)


def test_an_index_without_space_is_not_asked_again() -> None:
    asked: list[str] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(507, text="the index has no space left")

    index = Index("http://index.test/", "secret", transport=httpx2.MockTransport(handle))
    with pytest.raises(DiskError, match="507 the index has no space left"):
        index.channel("nightly")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("details", "error"),
    [(["a fault", f"the build ended with 1\n{FULL}"], DiskError), (["a fault"], IncompleteError)],
)
def test_a_night_whose_builds_met_a_full_disk(details: list[str], error: type[ArmwheelsError]) -> None:
    cells = [SimpleNamespace(build=SimpleNamespace(id="demo-1.0"), detail=detail) for detail in details]
    report: Any = SimpleNamespace(cells=cells, missing=cells)
    with pytest.raises(error):
        nightly.check_whole(report)
    nightly.check_whole(cast(Any, SimpleNamespace(cells=cells, missing=())))


def test_lines_are_broken_on_a_terminal_alone() -> None:
    console = make_console()
    with console.capture() as captured:
        console.print("word " * 100)
    assert captured.get().count("\n") == 1


def test_an_error_of_an_argument_is_one_line_in_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from builder.cli import main; main()", "plan", "--matrixx", "x" * 200],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 2
    assert "No such option: --matrixx" in done.stderr
    assert "─" not in done.stderr
