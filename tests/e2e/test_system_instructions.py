"""The emulator agrees with the table of system instructions, for the CPUs of which it has a model."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from builder.cpus import load_targets
from builder.model.system_space import SYSTEM
from builder.targets import Target
from builder.toolbox.toolbox import Toolbox

pytestmark = pytest.mark.slow

WORDS = {
    "smstart": 0xD503477F,
    "mrs x0, TPIDR2_EL0": 0xD53BD0A0,
    "mrs x0, SVCR": 0xD53B4240,
    "mrs x0, DIT": 0xD53B42A0,
    "msr DIT, #1": 0xD503415F,
    "mrs x0, SSBS": 0xD53B42C0,
    "msr SSBS, #1": 0xD503413F,
    "msr TCO, #1": 0xD503419F,
    "mrs x0, FPMR": 0xD53B4440,
    "mrs x0, GCSPR_EL0": 0xD53B2520,
    "mrs x0, CNTVCTSS_EL0": 0xD53BE0C0,
    "mrs x0, RNDR": 0xD53B2400,
    "dc cvap, x0": 0xD50B7C20,
    "dc cvadp, x0": 0xD50B7D20,
    "dc gva, x0": 0xD50B7460,
    "cfinv": 0xD500401F,
    "axflag": 0xD500405F,
    "sb": 0xD50330FF,
    "tstart x0": 0xD5233060,
    "mrs x0, SCTLR_EL1": 0xD5381000,
    "mrs x0, CTR_EL0": 0xD53B0020,
    "mrs x0, ID_AA64ISAR0_EL1": 0xD5380600,
    "mrs x0, CNTVCT_EL0": 0xD53BE040,
    "dc zva, x0": 0xD50B7420,
    "dsb ish": 0xD5033B9F,
}
MODELS = [one for one in load_targets().values() if one.emulator and not one.emulator.nearest]
BEYOND = {"ssbs", "dit", "sb", "flagm2", "mte", "rng"}
"""What a model may have and its target leaves out: its wheels run on other CPUs too, and kernels hide some."""


@pytest.fixture(scope="module")
def program(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that executes the word whose number is that of its arguments."""
    folder = tmp_path_factory.mktemp("system")
    source, built = folder / "system.S", folder / "system"
    rows = "".join(f".inst {word:#x}\nb done\n" for word in WORDS.values())
    source.write_text(
        ".globl _start\n_start: ldr x1, [sp]\nsub x1, x1, #1\nadr x2, table\nadd x2, x2, x1, lsl #3\n"
        f"mov x0, sp\nbr x2\ntable:\n{rows}done: mov x0, #0\nmov x8, #93\nsvc #0\n"
    )
    command = [str(toolbox.zig()), "cc", "-target", "aarch64-linux-gnu.2.31", "-nostdlib", "-static"]
    subprocess.run([*command, "-o", str(built), str(source)], check=True)
    return built


def feature(word: int) -> str:
    return next(row.feature for row in SYSTEM if word & row.mask == row.value)


@pytest.mark.parametrize("target", MODELS, ids=str)
def test_what_the_target_lacks_ends_by_sigill(toolbox: Toolbox, program: Path, target: Target) -> None:
    assert target.emulator
    for number, (name, word) in enumerate(WORDS.items()):
        command = [str(toolbox.qemu()), "-cpu", target.emulator.cpu, str(program), *["x"] * number]
        ended = subprocess.run(command, capture_output=True, check=False).returncode
        assert ended in {0, -signal.SIGILL}, name
        needed = feature(word)
        has = not needed or needed in target
        if has or needed not in BEYOND:
            assert (ended == 0) == has, f"{name}: {target} {'has' if has else 'lacks'} it"
