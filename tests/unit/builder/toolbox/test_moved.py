"""A state folder that was moved or copied loses what is bound to its path, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.errors import ConfigError
from builder.toolbox.moved import BOUND, STAMP, clear_moved
from builder.toolbox.toolbox import Toolbox


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "var"
    for name in (*BOUND, "downloads"):
        (home / name / "part").mkdir(parents=True)
        (home / name / "part/file").write_text("content")
        (home / name / "part.lock").touch()
    clear_moved(home, lambda text: pytest.fail(text))
    return home


def _left(home: Path) -> dict[str, set[str]]:
    return {name: {path.name for path in (home / name).iterdir()} for name in (*BOUND, "downloads")}


def test_in_its_place_it_keeps_everything(home: Path) -> None:
    before = _left(home)
    clear_moved(home, lambda text: pytest.fail(text))
    assert _left(home) == before
    assert before["toolbox"] == {"part", "part.lock", STAMP}


@pytest.mark.parametrize("take", [shutil.move, shutil.copytree])
def test_elsewhere_what_holds_its_path_is_deleted_and_said(home: Path, take: object, tmp_path: Path) -> None:
    there = tmp_path / "there"
    take(home, there)  # type: ignore[operator]  # both take two paths
    told: list[str] = []
    clear_moved(there, told.append)
    assert _left(there) == {**{name: {STAMP} for name in BOUND}, "downloads": {"part", "part.lock"}}
    assert [line.split(" was made in ")[0] for line in told] == list(BOUND)
    clear_moved(there, lambda text: pytest.fail(text))
    if home.is_dir():  # the copied one is untouched
        assert _left(home)["toolbox"] == {"part", "part.lock", STAMP}


def test_killed_meanwhile_the_next_call_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    home.rename(there)
    with monkeypatch.context() as patched:
        patched.setattr("builder.toolbox.moved.write_text", _killed)
        with pytest.raises(KeyboardInterrupt):
            clear_moved(there, lambda _: None)
    told: list[str] = []
    clear_moved(there, told.append)
    assert len(told) == len(BOUND)


def _killed(path: Path, text: str) -> None:
    raise KeyboardInterrupt


def test_a_toolbox_shared_by_a_link_is_in_its_place(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "toolbox").symlink_to(home / "toolbox")
    clear_moved(other, lambda text: pytest.fail(text))
    assert "part" in _left(home)["toolbox"]


def test_white_space_in_its_path_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"white space.*ARMWHEELS_HOME"):
        Toolbox(home=tmp_path / "my state")
