"""How a root is entered, and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.compile import root
from builder.compile.root import enter
from builder.errors import CompileError


def test_folders_are_seen_where_they_are_and_once(tmp_path: Path) -> None:
    home, toolbox = tmp_path / "home", tmp_path / "toolbox"
    home.mkdir()
    toolbox.mkdir()
    (home / "toolbox").symlink_to(toolbox)
    command = enter(tmp_path / "part", tmp_path / "at", [home, home / "toolbox"], ["bazel", "info"], home)
    folders = command[command.index(str(tmp_path / "at")) + 1 : command.index("--", 5)]
    assert folders == [str(home), str(toolbox)]
    assert command[-3:] == [f"--chdir={home}", "bazel", "info"]
    assert command[:4] == ["unshare", "--user", "--map-root-user", "--mount"]


def test_a_machine_without_user_namespaces_says_what_to_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "why_not", lambda: "unshare: unshare failed: Operation not permitted")
    with pytest.raises(CompileError, match="Operation not permitted") as caught:
        root.check()
    for knob in ("user.max_user_namespaces", "apparmor_restrict_unprivileged_userns", "seccomp"):
        assert knob in str(caught.value)


def test_the_reason_is_the_systems_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refused = tmp_path / "unshare"
    refused.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    refused.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    root.why_not.cache_clear()
    try:
        assert root.why_not() == "unshare failed: Operation not permitted"
        refused.unlink()
        root.why_not.cache_clear()
        assert "util-linux" in root.why_not()
    finally:
        root.why_not.cache_clear()
