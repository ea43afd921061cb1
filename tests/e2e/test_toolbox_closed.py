"""The cross compiler brings its own libraries: a machine that lacks them, or has others, compiles all the same."""

from __future__ import annotations

import subprocess

import pytest

from builder.toolbox.toolbox import Toolbox

pytestmark = [pytest.mark.slow]


def test_no_program_of_the_compiler_takes_a_library_of_the_machine(toolbox: Toolbox) -> None:
    part = toolbox.ensure("gnu")
    programs = [*part.glob("usr/bin/aarch64-linux-gnu-*"), *part.glob("usr/lib/gcc-cross/*/12/cc1*")]
    assert {"aarch64-linux-gnu-as", "aarch64-linux-gnu-g++-12", "cc1plus"} <= {one.name for one in programs}
    foreign = set()
    for program in programs:
        done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            name, arrow, place = line.strip().partition(" => ")
            # The loader itself is found by its absolute name.
            if arrow and not name.endswith("ld-linux-x86-64.so.2") and not place.startswith(str(part)):
                foreign.add(f"{program.name}: {line.strip()}")
    assert not foreign
