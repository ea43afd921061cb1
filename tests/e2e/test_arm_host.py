"""A simulated arm64 host: a wheel is compiled there by native programs, audited, and run on the host's own CPU."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from builder.audit.archive import open_wheel
from builder.toolbox.pins import load_pins, pins_on
from builder.toolbox.toolbox import Toolbox
from scripts import arm_host
from tests.helpers.places import make_place
from tests.helpers.units import PROJECT, write_recipe

pytestmark = pytest.mark.slow

_PROGRAM = f"""
import json, platform, sys
from builder.commands.project import Project

project = Project()
[build] = [one for one in project.builds("six") if one.id == "{PROJECT}-1.0-cp311-generic"]
say = project.live.for_build(build)
made = project.workshop.build(build, say)
run = project.workshop.verify(build, made.path, say)
print(json.dumps({{
    "machine": platform.machine(), "wheel": str(made.path), "digest": build.compile_digest,
    "faults": [one.detail for one in made.audit.verdicts if one.outcome == "fail"],
    "run": run.model_dump(mode="json"),
}}))
"""


def can_simulate() -> bool:
    """Whether this kernel gives a user namespace a binfmt_misc of its own (Linux 6.7)."""
    mount = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc"
    command = ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", mount]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_simulate(), reason="binfmt_misc in a user namespace needs Linux 6.7")
def test_a_wheel_is_compiled_and_run_by_native_programs(toolbox: Toolbox, tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", toolbox)
    recipes = write_recipe(tmp_path / "recipes", functions=1)
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    done = subprocess.run(
        arm_host.command_line(["python", str(program)], toolbox, place.home, tmp_path),
        env=arm_host.environment("neoverse-v1", place.home, ARMWHEELS_RECIPES=str(recipes)),
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["machine"] == "aarch64"
    assert told["faults"] == []
    run = told["run"]
    assert (run["emulator"], run["server"], run["passed"]) == ("no emulator", "this machine", True)
    assert run["cpu"] == "this machine, Arm Neoverse V1, which is emulated itself"
    assert "total" in {check["name"] for check in run["checks"]}
    passport = open_wheel(Path(told["wheel"])).passport
    assert passport is not None
    native = pins_on("aarch64", load_pins(), toolbox.toolchains)
    compilers = {file.sha256 for file in native.files("gnu-14")} - {
        file.sha256 for file in load_pins().files("gnu-14")
    }
    assert compilers <= {file["sha256"] for file in passport["toolchain"]}
