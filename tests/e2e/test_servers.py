"""Real stand-ins: what emulated programs see is the server, and libraries choose their code by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from builder.cpus import load_targets
from builder.emulation.emulate import stand_in
from builder.emulation.environment import EmulatedPython
from builder.model.server import HWCAP
from builder.targets import NOT_IN_CODE
from builder.toolbox.toolbox import Toolbox
from scripts.server_dispatch import Choice, choices, install_numpy

pytestmark = pytest.mark.slow

NUMPY = "numpy==2.4.6"
CORES = {
    "graviton1": "cortexa57",
    "thunderx2": "thunderx2t99",
    "apollo80": "a64fx",
    "graviton2": "neoversen1",
    "altra": "neoversen1",
    "ampereone": "neoversen1",
    "ampereone-ac4": "neoversen1",
    "graviton3": "neoversev1",
    "cobalt100": "neoversev2",
    "graviton4": "neoversev2",
    "grace": "neoversev2",
    "axion": "neoversev2",
    "thor": "neoversev2",
}
"""What NumPy 2.4.6's OpenBLAS says of each; it has one core for N2 and V2. Unrecorded servers are left out."""
WFXT = {"wfxt"}  # a timed wait, which compilers do not emit


@pytest.fixture(scope="module")
def chosen(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Choice]:
    folder = tmp_path_factory.mktemp("numpy")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--platform", "manylinux_2_28_aarch64", "--python-version", "3.11", "-d", str(folder), NUMPY]
    subprocess.run(command, check=True)
    [wheel] = folder.glob("*.whl")
    install_numpy(toolbox, wheel, folder / "site")
    return {choice.server.name: choice for choice in choices(toolbox, folder / "site")}


def test_openblas_chooses_its_core_by_the_part_number(chosen: dict[str, Choice]) -> None:
    recorded = {name: choice for name, choice in chosen.items() if choice.server.recorded}
    assert {name: choice.core for name, choice in recorded.items()} == CORES
    assert {name: choice.counting_core for name, choice in recorded.items()} == CORES


def test_numpy_finds_the_server_s_features(chosen: dict[str, Choice]) -> None:
    names = {
        "ASIMD": "asimd",
        "ASIMDHP": "asimdhp",
        "FPHP": "fphp",
        "ASIMDDP": "asimddp",
        "ASIMDFHM": "asimdfhm",
    }
    for choice in chosen.values():
        expected = {numpy for numpy, linux in {**names, "SVE": "sve"}.items() if linux in choice.server.flags}
        assert set(choice.numpy) == expected, choice.server.name


def test_the_emulator_lacks_nothing_that_wheels_may_use(chosen: dict[str, Choice]) -> None:
    for choice in chosen.values():
        # See targets.toml: wheels for it that use CSSC cannot be proven yet.
        later = {"cssc"} if choice.server.name == "ampereone-ac5" else set()
        assert set(choice.lacks) - later <= NOT_IN_CODE | WFXT, choice.server.name


def test_the_part_number_register_is_the_server_s(toolbox: Toolbox, tmp_path: Path) -> None:
    """A static program reads MIDR_EL1 and, as the root cannot reach it, the model's own capabilities."""
    source, program = tmp_path / "midr.S", tmp_path / "midr"
    source.write_text(
        ".globl _start\n_start: mrs x0, midr_el1\n"
        "ubfx x0, x0, #4, #8\n"  # the low half of the part number is the exit code
        "mov x8, #93\nsvc #0\n"
    )
    command = [str(toolbox.zig()), "cc", "-target", "aarch64-linux-gnu.2.31", "-nostdlib", "-static"]
    subprocess.run([*command, "-o", str(program), str(source)], check=True)
    for name, low in (("graviton2", 0x0C), ("graviton3", 0x40), ("cobalt100", 0x49), ("graviton4", 0x4F)):
        found = stand_in(load_targets()[name])
        done = subprocess.run([str(toolbox.qemu()), "-cpu", found.cpu, str(program)], check=False)
        assert done.returncode == low, name


def test_the_c_library_s_own_choice_sees_the_server(toolbox: Toolbox) -> None:
    """Its loader prints what it was told of the CPU, before any library is loaded (``LD_SHOW_AUXV``, ld.so(8))."""
    emulated = EmulatedPython.standing_in(toolbox, "cp311", stand_in(load_targets()["graviton2"]))
    done = emulated.run(["-c", ""], extra={"LD_SHOW_AUXV": "1"})
    [line] = [line for line in done.stdout.splitlines() if line.startswith("AT_HWCAP:")]
    told = int(line.split()[-1], 16)
    assert told & 1 << HWCAP.index("asimddp")
    assert not told & 1 << HWCAP.index("sve")
    assert told & ~stand_in(load_targets()["graviton2"]).server.hwcap[0] == 0


def test_a_program_that_an_emulated_one_starts_loads_nothing_of_the_root(toolbox: Toolbox) -> None:
    emulated = EmulatedPython.standing_in(toolbox, "cp311", stand_in(load_targets()["graviton3"]))
    code = "import os, subprocess; print(os.environ.get('LD_PRELOAD')); subprocess.run(['true'], check=True)"
    done = emulated.run(["-c", code])
    assert (done.stdout, done.stderr) == ("None\n", "")
