"""A program of three loops whose speed is known, and how to count its blocks under the emulator."""

from __future__ import annotations

import subprocess
from pathlib import Path

from builder.bench.blocks import Marks, parse_marks
from builder.bench.counting import EMULATOR, compile_plugin
from builder.toolbox.toolbox import Toolbox

TURNS = 1000
MARK = """
.macro mark number
    mov  x8, #62
    movz w0, #0x8d93        // -0x41726d, low half
    movk w0, #0xffbe, lsl #16
    mov  x1, #\\number
    svc  #0
.endm
.globl _start
_start:
"""
EXIT = """
    mov  x8, #93
    mov  x0, #0
    svc  #0
"""
LOOPS = {
    "multiply-add": [f"fmla v{n}.4s, v16.4s, v17.4s" for n in range(16)],
    "chain of additions": ["fadd d0, d0, d1"] * 4,
    "loads, with a branch": ["ldr q0, [x3]", "b 2f", "2: ldr q1, [x3]", "ldr q2, [x3]", "ldr q3, [x3]"],
}
"""The body of each loop. A mark stands before the first and after each."""


def program() -> str:
    """The assembly of the program."""
    text = [MARK, "    mov x3, sp", "    mark 0"]
    for number, body in enumerate(LOOPS.values(), start=1):
        text += [
            f"    mov x9, #{TURNS}",
            "1:",
            *body,
            "    subs x9, x9, #1",
            "    b.ne 1b",
            f"    mark {number}",
        ]
    return "\n".join([*text, EXIT])


def assemble(toolbox: Toolbox, text: str, folder: Path) -> Path:
    """Return the static program of an assembly text."""
    source, output = folder / "program.S", folder / "program"
    source.write_text(text)
    subprocess.run(
        [
            *(str(toolbox.zig()), "cc", "-target", "aarch64-linux-musl", "-mcpu=neoverse_v1", "-nostdlib"),
            *("-static", "-o", str(output), str(source)),
        ],
        env={"ZIG_GLOBAL_CACHE_DIR": str(folder), "ZIG_LOCAL_CACHE_DIR": str(folder)},
        check=True,
    )
    return output


def count(toolbox: Toolbox, program: Path, marks: Path) -> Marks:
    """Run a program under the emulator with the counting plugin, which writes the file ``marks``."""
    qemu = toolbox.ensure(EMULATOR) / "usr/bin/qemu-aarch64"
    plugin = f"{compile_plugin(toolbox)},out={marks}"
    subprocess.run([str(qemu), "-cpu", "max", "-plugin", plugin, str(program)], check=True)
    return parse_marks(marks.read_text())
