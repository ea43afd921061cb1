"""A state folder, copied and then moved, builds on: the original is gone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from builder.toolbox.toolbox import Toolbox
from tests.helpers.places import Place, make_place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_copied_and_moved_state_folder_builds(tmp_path: Path, toolbox: Toolbox) -> None:
    place = make_place(tmp_path / "first", toolbox)
    (place.home / "toolbox").unlink()  # one of its own, unpacked there
    build = ("armwheels", "build", "msgpack-1.2.4-cp311-neoverse-v1", "--matrix", "tiny")
    first = place.run(*build)
    assert first.returncode == 0, first.stdout + first.stderr
    copied = tmp_path / "copied/home"
    shutil.copytree(place.home, copied, symlinks=True, copy_function=os.link)
    moved = tmp_path / "moved/home"
    moved.parent.mkdir()
    copied.rename(moved)
    gone = place.home.rename(tmp_path / "gone")
    recipe = place.configs / "recipes/msgpack.toml"
    recipe.write_text(recipe.read_text().replace('cflags = ["-O3"]', 'cflags = ["-O3", "-fno-plt"]'))

    there: Place = replace(place, home=moved)
    done = there.run(*build)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "toolbox was made in" in done.stdout + done.stderr
    assert len(there.wheels()) == 2
    gone.rename(place.home)
    back = place.run("armwheels", "python", "--target", "graviton3", "--", "-c", "print('alive')")
    assert back.stdout == "alive\n", back.stderr
