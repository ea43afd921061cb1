"""Builders of a fleet share one compile cache through their index, on whatever store it has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.compile.wrappers import cache_variables
from builder.cpus import load_targets
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.toolbox.toolbox import Toolbox
from tests.helpers.builds import RECIPE, build_for
from tests.helpers.ccache import counted
from tests.helpers.places import Served, make_place

pytestmark = pytest.mark.slow


def test_what_one_builder_compiled_another_is_handed(
    served: Served, toolbox: Toolbox, tmp_path: Path
) -> None:
    made = served.place.run("armwheels-index", "token", "--name", "fleet", "--scope", "cache")
    token = made.stdout.strip().splitlines()[-1]
    statistics = []
    for name in ("first", "second"):
        place = make_place(tmp_path / name, toolbox)
        shared = {"ARMWHEELS_INDEX": served.url, "ARMWHEELS_TOKEN": token, "ARMWHEELS_SHARED_CACHE": "on"}
        done = place.run(
            "armwheels", "build", "msgpack-1.2.4-cp311-neoverse-v1", "--matrix", "tiny", extra=shared
        )
        assert done.returncode == 0, done.stdout + done.stderr
        statistics.append(counted(place.home / "cache/ccache", toolbox))
    assert statistics[0]["remote_storage_write"] > 0, statistics[0]
    assert statistics[0]["remote_storage_hit"] == 0
    assert statistics[1]["remote_storage_hit"] > 0, statistics[1]
    assert statistics[1]["cache_miss"] == 0


def test_a_hard_link_to_a_header_in_mid_compile_spoils_no_unit(toolbox: Toolbox, tmp_path: Path) -> None:
    """A copy of the toolbox by hard links changes the change time of all its headers, and none of their bytes."""
    build = build_for(validate(Recipe, RECIPE, origin="demo.toml"), load_targets())
    variables = cache_variables(build, toolbox, tmp_path)
    variables |= {"CCACHE_DIR": str(tmp_path / "ccache"), "ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig")}
    (tmp_path / "a.h").write_text("#define A 1\n")
    (tmp_path / "a.c").write_text('#include "a.h"\nint f(void) { return A; }\n')
    compiler = tmp_path / "cc"
    target = "-target aarch64-linux-gnu -I. "
    compiler.write_text(f'#!/bin/sh\nsleep 1\nln a.h link.$$\nexec {toolbox.zig()} cc {target} "$@"\n')
    compiler.chmod(0o755)
    for _ in range(2):
        subprocess.run(
            [str(toolbox.ccache()), str(compiler), "-c", "a.c", "-o", "a.o"],
            env={"PATH": "/usr/bin:/bin", **variables},
            cwd=tmp_path,
            check=True,
        )
    statistics = counted(tmp_path / "ccache", toolbox)
    assert statistics["modified_input_file"] == 0
    assert statistics["direct_cache_hit"] == 1
