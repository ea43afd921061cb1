"""Builders of a fleet share one compile cache through their index, on whatever store it has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.toolbox.toolbox import Toolbox
from tests.helpers.places import Place, Served, make_place

pytestmark = pytest.mark.slow


def _statistics(place: Place, toolbox: Toolbox) -> dict[str, int]:
    """What ccache counted in the cache of this place's home (ccache(1), ``--print-stats``)."""
    output = subprocess.run(
        [str(toolbox.ccache()), "--print-stats"],
        env={"CCACHE_DIR": str(place.home / "cache/ccache")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name: int(count) for name, _, count in (line.partition("\t") for line in output.splitlines())}


def test_what_one_builder_compiled_another_is_handed(
    served: Served, toolbox: Toolbox, tmp_path: Path
) -> None:
    made = served.place.run("armwheels-index", "token", "--name", "fleet", "--scope", "cache")
    token = made.stdout.strip().splitlines()[-1]
    counted = []
    for name in ("first", "second"):
        place = make_place(tmp_path / name, toolbox)
        shared = {"ARMWHEELS_INDEX": served.url, "ARMWHEELS_TOKEN": token, "ARMWHEELS_SHARED_CACHE": "on"}
        done = place.run(
            "armwheels", "build", "msgpack-1.2.4-cp311-neoverse-v1", "--matrix", "tiny", extra=shared
        )
        assert done.returncode == 0, done.stdout + done.stderr
        counted.append(_statistics(place, toolbox))
    assert counted[0]["remote_storage_write"] > 0, counted[0]
    assert counted[0]["remote_storage_hit"] == 0
    assert counted[1]["remote_storage_hit"] > 0, counted[1]
    assert counted[1]["cache_miss"] == 0
