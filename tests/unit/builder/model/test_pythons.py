"""Python tags: their versions, and the wheels that each Python takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.tags import parse_tag

from builder.emulation.install import python_of
from builder.errors import ConfigError
from builder.model.pythons import built_for, program_of, release_of, version_of


def test_versions_of_a_tag() -> None:
    assert (release_of("cp311"), version_of("cp39"), program_of("cp313")) == ((3, 11), "3.9", "python3.13")
    assert version_of("cp313t") == "3.13"
    with pytest.raises(ValueError, match="'py3' is no tag of a CPython 3"):
        version_of("py3")


@pytest.mark.parametrize(
    ("python", "tags", "built"),
    [
        ("cp311", "cp311-cp311", True),
        ("cp311", "cp311-none", True),
        ("cp311", "cp311-abi3", True),
        ("cp313", "cp39-abi3", True),
        ("cp311", "cp313-abi3", False),  # for 3.13 and later
        ("cp311", "cp312-cp312", False),
        ("cp311", "cp311.cp312-none", False),
        ("cp311", "py3-none", False),
        ("cp313t", "cp313-cp313t", True),
        ("cp313t", "cp313-cp313", False),
        ("cp313t", "cp313-abi3", False),  # a free-threaded Python has no such ABI
        ("cp313", "cp313-cp313t", False),
        ("python3", "cp313-cp313", False),
    ],
)
def test_tags_of_wheels_built_for_a_python(python: str, tags: str, built: bool) -> None:
    assert built_for(python, parse_tag(f"{tags}-manylinux_2_28_aarch64")) is built


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        ("cp312-cp312", "cp312"),
        ("cp39-abi3", "cp311"),
        ("cp312-abi3", "cp312"),
        ("py3-none", "cp311"),
        ("cp313-cp313t", "cp313t"),
    ],
)
def test_a_wheel_runs_on_a_python_that_takes_it(tags: str, chosen: str) -> None:
    known = ["cp311", "cp312", "cp313", "cp313t"]
    assert python_of(Path(f"demo-1.0-{tags}-manylinux_2_28_aarch64.whl"), known) == chosen


def test_a_free_threaded_wheel_runs_on_no_other_python() -> None:
    with pytest.raises(ConfigError, match="no known Python can install"):
        python_of(Path("demo-1.0-cp313-cp313t-manylinux_2_28_aarch64.whl"), ["cp313"])
