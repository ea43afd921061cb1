"""Writes system instructions over a module's start, audits the wheel for each target, and runs them emulated.

    python -m scripts.audit_instructions WHEEL

The wheel is any one with a compiled module. The table that is printed (Markdown) has a row for each instruction:
the feature that it needs, and for each target what the audit says, and what the emulator's model of that CPU does.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.audit import audit_wheel, elf, open_wheel
from builder.audit.elf import Elf
from builder.audit.flow import Flow
from builder.cpus import load_targets
from builder.model.system_space import SYSTEM
from builder.targets import Target, Targets
from builder.toolbox.toolbox import Toolbox

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
"""Instructions that LLVM decodes for every CPU (DDI 0487, section C4.1.66), and their words."""


def feature(word: int) -> str:
    """Return the feature that a system instruction needs; an empty string if every CPU has it."""
    return next(row.feature for row in SYSTEM if word & row.mask == row.value)


def program(toolbox: Toolbox, folder: Path) -> Path:
    """Compile a static program that executes the word whose number is that of its arguments."""
    source, built = folder / "system.S", folder / "system"
    rows = "".join(f".inst {word:#x}\nb done\n" for word in WORDS.values())
    source.write_text(
        ".globl _start\n_start: ldr x1, [sp]\nsub x1, x1, #1\nadr x2, table\nadd x2, x2, x1, lsl #3\n"
        f"mov x0, sp\nbr x2\ntable:\n{rows}done: mov x0, #0\nmov x8, #93\nsvc #0\n"
    )
    command = [str(toolbox.zig()), "cc", "-target", "aarch64-linux-gnu.2.31", "-nostdlib", "-static"]
    subprocess.run([*command, "-o", str(built), str(source)], check=True)
    return built


def runs(toolbox: Toolbox, built: Path, cpu: str, number: int) -> bool:
    """Whether a model of the emulator executes the word; otherwise it ends the program by SIGILL."""
    command = [str(toolbox.qemu()), "-cpu", cpu, str(built), *["x"] * number]
    ended = subprocess.run(command, capture_output=True, check=False).returncode
    if ended not in {0, -signal.SIGILL}:
        raise RuntimeError(f"{command} ended with {ended}")
    return ended == 0


def patched(wheel: Path, word: int, folder: Path) -> Path:
    """Copy a wheel with a word written over the first instruction of its first ``PyInit`` function."""
    opened = open_wheel(wheel)
    member, place = next(_starts(opened.binaries()))
    out = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            data = bytearray(source.read(info))
            if info.filename == member:
                data[place : place + 4] = word.to_bytes(4, "little")
            target.writestr(info, bytes(data))
    return out


def _starts(binaries: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, int]]:
    for member, data in binaries:
        one: Elf = elf.read(member, data)
        for address in Flow(one).python.module_functions.tolist():
            [code] = [
                part for part in one.code() if part.address <= address < part.address + 4 * len(part.words)
            ]
            yield member, code.offset + address - code.address


def table(wheel: Path, toolbox: Toolbox, targets: Targets) -> Iterator[tuple[str, str, Mapping[Target, str]]]:
    """Yield for each instruction its feature, and for each target what the audit and the emulator say."""
    with tempfile.TemporaryDirectory() as scratch:
        built = program(toolbox, Path(scratch))
        for number, (name, word) in enumerate(WORDS.items()):
            copy = patched(wheel, word, Path(scratch))
            said = {}
            for target in targets.values():
                report = audit_wheel(copy, targets=targets, target=target, llvm_mc=toolbox.llvm_mc())
                said[target] = "passes" if report.verdict("instructions").outcome == "pass" else "refused"
                if target.emulator is not None and not target.emulator.nearest:
                    ran = runs(toolbox, built, target.emulator.cpu, number)
                    said[target] += ", runs" if ran else ", SIGILL"
            yield name, feature(word) or "every CPU", said


def main() -> None:
    """Print the table."""
    targets = load_targets()
    names = [target.name for target in targets.values()]
    print(f"| instruction | needs | {' | '.join(names)} |")
    print(f"| --- | --- |{' --- |' * len(names)}")
    for name, needed, said in table(Path(sys.argv[1]), Toolbox(), targets):
        print(f"| `{name}` | {needed} | {' | '.join(said.values())} |", flush=True)


if __name__ == "__main__":
    main()
