"""The emulator agrees with the table of system instructions, for the CPUs of which it has a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.audit import audit_wheel
from builder.cpus import load_targets
from builder.targets import Target
from builder.toolbox.toolbox import Toolbox
from scripts.audit_instructions import WORDS, feature, patched, program, runs
from tests.helpers.elf_builder import RET, ElfFile, Function, make_wheel

pytestmark = pytest.mark.slow

MODELS = [one for one in load_targets().values() if one.emulator and not one.emulator.nearest]
BEYOND = {"ssbs", "dit", "sb", "flagm2", "mte", "rng"}
"""What a model may have and its target leaves out: its wheels run on other CPUs too, and kernels hide some."""


@pytest.fixture(scope="module")
def built(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(toolbox, tmp_path_factory.mktemp("system"))


@pytest.mark.parametrize("target", MODELS, ids=str)
def test_what_the_target_lacks_ends_by_sigill(toolbox: Toolbox, built: Path, target: Target) -> None:
    assert target.emulator
    for number, (name, word) in enumerate(WORDS.items()):
        ran = runs(toolbox, built, target.emulator.cpu, number)
        needed = feature(word)
        has = not needed or needed in target
        if has or needed not in BEYOND:
            assert ran == has, f"{name}: {target} {'has' if has else 'lacks'} it"


def test_a_wheel_with_one_at_its_start_is_refused(toolbox: Toolbox, tmp_path: Path) -> None:
    targets = load_targets()
    code = ElfFile(functions=[Function("PyInit_m", (RET, RET)), Function("f", (RET,))])
    wheel = make_wheel(tmp_path, {"m.cpython-311-aarch64-linux-gnu.so": code.build()})
    (tmp_path / "copy").mkdir()
    for word in WORDS.values():
        copy = patched(wheel, word, tmp_path / "copy")
        for target in (targets["generic"], targets["neoverse-n2"]):
            report = audit_wheel(copy, targets=targets, target=target, llvm_mc=toolbox.llvm_mc())
            has = not feature(word) or feature(word) in target
            assert (report.verdict("instructions").outcome == "pass") == has, (hex(word), target)
