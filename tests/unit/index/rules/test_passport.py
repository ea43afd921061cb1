"""Which passports agree with which file names."""

from __future__ import annotations

import pytest
from packaging.tags import parse_tag

from index_server.names import parse_name
from index_server.rules.passport import disagreements, taken_by
from index_server.targets import Target, Targets
from tests.helpers.wheels import make_passport

TARGETS = Targets([Target("neoverse-v1", "V1", (), ())])
NAME = "demo-1.0+neoverse.v1-1_3fa9c2d1-cp311-cp311-manylinux_2_28_aarch64.whl"


@pytest.mark.parametrize(
    ("python", "tags", "taken"),
    [
        ("cp311", "cp311-cp311", True),
        ("cp311", "cp311-none", True),
        ("cp311", "cp311-abi3", True),
        ("cp313", "cp39-abi3", True),
        ("cp313", "cp39.cp310-abi3", True),
        ("cp311", "cp313-abi3", False),  # for 3.13 and later
        ("cp311", "cp312-cp312", False),
        ("cp311", "cp310-cp310", False),
        ("cp311", "cp311-cp311t", False),
        ("cp311", "cp311.cp312-none", False),
        ("cp311", "py3-none", False),
        ("cp313t", "cp313-cp313t", True),
        ("cp313t", "cp313-cp313", False),
        ("cp313t", "cp313-abi3", False),  # free-threaded builds have no stable ABI of this kind
        ("cp313", "cp313-cp313t", False),
        ("cp313t", "cp313t-cp313t", False),  # PEP 703: the interpreter tag has no t
        ("cp311\n", "cp311-cp311", False),
        ("cp313t\n", "cp313-cp313t", False),
        ("cp3" + "9" * 5000, "cp311-abi3", False),
    ],
)
def test_tags_that_a_python_takes(python: str, tags: str, taken: bool) -> None:
    assert taken_by(python, parse_tag(f"{tags}-manylinux_2_28_aarch64")) is taken


def test_every_difference_is_named() -> None:
    passport = make_passport(version="2.0", target="itanium", wheel_digest="f" * 64)
    found = "\n".join(disagreements({**passport, "build": "other"}, parse_name(NAME), TARGETS))
    for part in ("itanium is not one", "means 2.0+itanium", "'_ffffffff'", "build other"):
        assert part in found
    assert disagreements(make_passport(), parse_name(NAME), TARGETS) == []
