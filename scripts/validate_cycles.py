"""Holds the estimate of cycles against published numbers (docs/evidence/cycles.md).

    .venv/bin/python -m scripts.validate_cycles NUMPY_WHEEL    # PyPI's, whose OpenBLAS chooses its core at run time

Prints two tables in Markdown: matrix products beside the peak of each core, and loops of one instruction.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder import settings
from builder.bench.compare import measure
from builder.bench.counting import CountingMachine
from builder.bench.cycles import Code
from builder.bench.install import facts
from builder.bench.mca import Simulator
from builder.bench.measure import Suite, program_for, workloads_of
from builder.load import Configs, load_configs
from builder.toolbox.toolbox import Toolbox

# FLOP of a call: a multiplication and an addition for each of n^3 products (numpy_bench.py).
GEMMS = {"gemm-float32": 2 * 384**3, "gemm-float64": 2 * 256**3}


@dataclass(frozen=True)
class Core:
    """Published numbers of a core.

    ``peak`` has float32 FLOP in a cycle: pipes, times lanes of a vector, times two. ``cycles`` has those of each
    loop in the order of :data:`LOOPS`, from the tables of the core's Software Optimization Guide (A64FX:
    Fujitsu's microarchitecture manual): sixteen instructions divided by their throughput, or their latency where
    that is more. ``None``: the core does not have the instruction.
    """

    peak: int
    cycles: tuple[float | None, ...]


LOOPS = {
    "16 FMLA, 128-bit": [f"fmla v{n}.4s, v16.4s, v17.4s" for n in range(16)],
    "16 FMLA, SVE": [f"fmla z{n}.s, p0/m, z16.s, z17.s" for n in range(16)],
    "16 dependent FADD": ["fadd d0, d0, d1"] * 16,
    "16 LDR Q": [f"ldr q{n}, [x1]" for n in range(16)],
    "16 dependent LDR X": ["ldr x1, [x1]"] * 16,
}
CORES = {
    "neoverse-n1": Core(16, (8, None, 32, 8, 64)),
    "neoverse-v1": Core(32, (4, 8, 32, 16 / 3, 64)),
    "neoverse-n2": Core(16, (8, 8, 32, 16 / 3, 64)),
    "neoverse-v2": Core(32, (4, 4, 32, 16 / 3, 64)),
    "a64fx": Core(64, (9, 9, 144, 8, 80)),
}


def main(wheel: Path) -> None:
    """Print both tables."""
    toolbox, configs = Toolbox(), load_configs()
    print("| core | kernel | instructions | est. cycles | FLOP a cycle | published peak | share |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in CORES:
        for row in products(toolbox, configs, wheel, name):
            print(row, flush=True)
    print(f"\n| core | {' | '.join(LOOPS)} |\n| --- |{' ---: |' * len(LOOPS)}")
    for name in CORES:
        print(loops(toolbox, configs, name), flush=True)


def products(toolbox: Toolbox, configs: Configs, wheel: Path, name: str) -> Iterator[str]:
    """Yield a line for each matrix product."""
    machine = CountingMachine(toolbox, configs.emulated(name, None), "cp311")
    program = program_for("numpy")
    if program is None:
        raise SystemExit("there are no workloads for NumPy")
    workloads = tuple(one for one in workloads_of(program) if one.name in GEMMS)
    suite = Suite(program=program, workloads=workloads)
    measured = measure(wheel, facts(wheel), machine, suite, settings.home_dir(), lambda _: None)
    for kernel, flop in GEMMS.items():
        row = measured.row(kernel)
        if row is None or row.cycles is None or row.count is None:
            yield f"| {name} | {kernel} | {row.detail if row else 'missing'} | | | | |"
            continue
        peak = CORES[name].peak / (2 if kernel.endswith("64") else 1)
        reached = flop / row.cycles.estimated
        yield (
            f"| {name} | {kernel} | {row.count:,} | {row.cycles.estimated:,} | {reached:.1f} | {peak:.0f} "
            f"| {reached / peak:.0%} |"
        )


def loops(toolbox: Toolbox, configs: Configs, name: str) -> str:
    """Return the line of a core: estimated and published cycles of a turn of each loop."""
    target = configs.targets[name]
    simulator = Simulator(toolbox, target.core, target.sve_bits)
    cells = [name]
    for body, published in zip(LOOPS.values(), CORES[name].cycles, strict=True):
        if published is None:
            cells.append("-")
            continue
        code = Code(
            words=assemble(toolbox, [*body, "subs x9, x9, #1", f"b.ne #-{4 * len(body) + 4}"]), loop=True
        )
        cells.append(f"{simulator.costs([code])[code].cycles:.1f} ({published:.1f})")
    return f"| {' | '.join(cells)} |"


def assemble(toolbox: Toolbox, lines: list[str]) -> tuple[int, ...]:
    """Return the words of assembly lines."""
    listing = subprocess.run(
        [str(toolbox.llvm_mc()), "--assemble", "--triple=aarch64", "--mattr=+all", "--show-encoding"],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    encodings = re.findall(r"encoding: \[(.*)\]", listing)
    return tuple(
        int.from_bytes(bytes(int(byte, 16) for byte in one.split(",")), "little") for one in encodings
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
