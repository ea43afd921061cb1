"""`armwheels libraries` with a library of Debian: two releases packed, run under emulation, and compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from builder.bench.library_wheels import library_wheel
from builder.cli import make_app
from builder.toolbox.toolbox import Toolbox

pytestmark = pytest.mark.slow

CHOSEN = ("exp float64 Neon", "exp float64 SVE", "sin float64 Neon")


def test_two_releases_of_sleef_are_counted() -> None:
    asked = ["libraries", "sleef==3.5.1", "--target", "neoverse-v1", "--json"]
    done = CliRunner().invoke(
        make_app("libraries"), [*asked, *(part for name in CHOSEN for part in ("--only", name))]
    )
    assert done.exit_code == 0, done.output
    [verdict] = json.loads(done.stdout)
    [comparison] = verdict["comparisons"]
    assert comparison["against"] == "3.5.1"
    assert set(comparison["ratios"]) == set(CHOSEN)
    newer = {row["workload"]: row for row in verdict["reports"][0]["measured"][1]["rows"]}
    assert newer["exp float64 SVE"]["classes"]["sve"] > newer["exp float64 Neon"]["classes"].get("sve", 0)


def test_an_unknown_release_is_named_with_those_that_are_known() -> None:
    done = CliRunner().invoke(make_app("libraries"), ["libraries", "sleef==9.9", "--target", "neoverse-n1"])
    assert done.exit_code != 0
    assert re.search(r"no sleef 9\.9 beside 3\.6\.1; there are 3\.5\.1,\s+3\.9\.0", str(done.exception))


def test_a_driver_in_cplusplus_finds_its_library_beside_it(tmp_path: Path) -> None:
    toolbox = Toolbox()
    library = toolbox.toolchains.libraries["acl"]
    wheels = [library_wheel(toolbox, "acl", library, part, tmp_path) for part in library.parts]
    assert [wheel.name for wheel in wheels] == [
        "library_acl-24.11-py3-none-any.whl",
        "library_acl-20.08-py3-none-any.whl",
    ]
    again = library_wheel(toolbox, "acl", library, library.part, tmp_path / "again")
    assert again.read_bytes() == wheels[0].read_bytes()
