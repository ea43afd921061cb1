"""A command runs in a root of its own, or is refused with the machine's own reason."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.compile import root
from builder.errors import CompileError


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What this machine allows is asked once a process; here, once a test."""
    root.why_not.cache_clear()
    yield
    root.why_not.cache_clear()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A root with this machine's programs and an ``/etc`` of its own."""
    (tmp_path / "part/etc").mkdir(parents=True)
    (tmp_path / "part/etc/part-name").write_text("the part's own\n")
    (tmp_path / "part/usr").symlink_to("/usr")
    return tmp_path / "part"


def run(part: Path, folders: list[Path], inside: Path, script: str) -> str:
    """What a shell prints that runs ``script`` in the root; skips where the machine allows no root."""
    if reason := root.why_not():
        pytest.skip(f"no user namespaces: {reason}")
    at = part.with_name("at")
    at.mkdir()
    command = root.enter(part, at, folders, ["/bin/sh", "-ec", script], inside)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(at.iterdir()) == []  # nothing stays mounted
    return done.stdout


def test_a_command_sees_the_parts_files_and_starts_in_its_folder(part: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    printed = run(part, [home], home, "cat /etc/part-name; pwd; test -r /proc/self/status; test -c /dev/null")
    assert printed.splitlines() == ["the part's own", str(home)]


def test_other_folders_of_the_machine_are_not_there(part: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").mkdir()
    assert run(part, [home], home, f"ls {tmp_path}") == "home\n"


def test_a_folder_is_seen_at_its_path_and_where_its_links_lead(part: Path, tmp_path: Path) -> None:
    home, toolbox = tmp_path / "home", tmp_path / "elsewhere/toolbox"
    home.mkdir()
    toolbox.mkdir(parents=True)
    (home / "toolbox").symlink_to(toolbox)
    (home / "source").mkdir()
    (toolbox / "tool").write_text("tool\n")
    folders = [home / "source", home / "toolbox", home]
    script = f"cat {home}/toolbox/tool {toolbox}/tool; echo made > {home}/source/object"
    assert run(part, folders, home / "source", script) == "tool\ntool\n"
    assert (home / "source/object").read_text() == "made\n"


def test_what_is_written_elsewhere_ends_with_the_command(part: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    run(part, [home], home, f"echo lost > {tmp_path}/lost; echo lost > /etc/part-name")
    assert not (tmp_path / "lost").exists()
    assert (part / "etc/part-name").read_text() == "the part's own\n"


@pytest.fixture
def unshare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, which the system refuses as it does without user namespaces."""
    program = tmp_path / "unshare"
    program.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return program


def test_a_machine_without_user_namespaces_says_what_to_allow(unshare: Path) -> None:
    with pytest.raises(CompileError, match="unshare failed: Operation not permitted") as caught:
        root.check()
    for knob in ("user.max_user_namespaces", "apparmor_restrict_unprivileged_userns", "seccomp"):
        assert knob in str(caught.value)


def test_a_machine_without_unshare_names_its_package(unshare: Path) -> None:
    unshare.unlink()
    with pytest.raises(CompileError, match="util-linux"):
        root.check()
