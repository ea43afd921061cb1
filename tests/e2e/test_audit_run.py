"""`audit --run`: an import under emulation ends where the audit says, or does not end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from builder.audit import audit_wheel
from builder.compile.compilers.zig import zig_cache
from builder.cpus import load_targets
from builder.emulation.trial import decided
from builder.toolbox.toolbox import Toolbox
from tests.helpers.elf_builder import make_wheel

pytestmark = pytest.mark.slow

FATAL = """
static long counter;
__attribute__((constructor)) static void start(void)
{
    register long *at __asm__("x2") = &counter;
    __asm__ volatile("mov w0, #1\\n.inst 0xb8200041" : "+r"(at) :: "x0", "x1", "memory"); /* ldadd: LSE */
}
void *PyInit_m(void) { return 0; }
"""


@pytest.fixture
def fatal(toolbox: Toolbox, tmp_path: Path) -> Path:
    """A wheel whose module has an instruction of LSE in a constructor."""
    source, library = tmp_path / "m.c", tmp_path / "m.so"
    source.write_text(FATAL, encoding="utf-8")
    cache = str(zig_cache(toolbox.home))
    options = "-target aarch64-linux-gnu.2.28 -mcpu=generic -O2 -fPIC -shared -nostdlib"
    subprocess.run(
        [str(toolbox.zig()), "cc", *options.split(), "-o", str(library), str(source)],
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache},
        check=True,
    )
    name = "m.cpython-311-aarch64-linux-gnu.so"
    return make_wheel(tmp_path, {name: library.read_bytes(), "other.py": b"answer = 42\n"})


@pytest.mark.parametrize(("target", "ends"), [("generic", True), ("neoverse-n1", False)])
def test_the_run_and_the_audit_agree(toolbox: Toolbox, fatal: Path, target: str, ends: bool) -> None:
    targets = load_targets()
    report = audit_wheel(fatal, targets=targets, target=targets[target], llvm_mc=toolbox.llvm_mc())
    report = decided(report, fatal, target=targets[target], toolbox=toolbox)
    run, instructions = report.verdict("run"), report.verdict("instructions")
    assert (run.outcome == "fail") == (instructions.outcome == "fail") == ends, run.detail
    assert run.data["imported"] == ["other"]  # the process after a death goes on behind it
    if ends:
        [death] = run.data["deaths"]
        [place] = instructions.data["places"]
        assert (death["file"], hex(death["address"]), death["word"]) == (
            place["member"],
            place["address"],
            0xB8200041,
        )
        assert "which the audit ranks as import" in run.detail
    else:
        assert [module for module, _ in run.data["refused"]] == ["m"]  # PyInit returns nothing
