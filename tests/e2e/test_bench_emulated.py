"""The counting plugin against instructions counted by hand, LLVM's assembler, and NumPy twice."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from builder.bench.blocks import class_counts, instructions_of
from builder.bench.classes import classify
from builder.bench.counting import EMULATOR, compile_plugin
from builder.bench.cycles import code_of, estimate
from builder.bench.mca import Simulator
from builder.bench.traces import hot_traces
from builder.cpus import load_targets
from builder.toolbox.toolbox import Toolbox
from tests.helpers.loops import EXIT, LOOPS, MARK, TURNS, assemble, count, program
from tests.helpers.places import Place

pytestmark = pytest.mark.slow

INSTRUCTIONS = Path(__file__).with_name("bench_instructions.txt").read_text().splitlines()

# After the first svc: 1 mov, 1,000 turns of 10, 4 to set the next mark.
PROGRAM = f"""
.arch_extension sve
.arch_extension bf16
.arch_extension i8mm
{MARK}
    mov  x2, #0
    mark 4
    mov  x9, #{TURNS}
1:  fmla z0.s, p0/m, z1.s, z2.s
    ptrue p0.s
    bfmmla z0.s, z1.h, z2.h
    fmla v0.4s, v1.4s, v2.4s
    sdot v0.4s, v1.16b, v2.16b
    smmla v0.4s, v1.16b, v2.16b
    fadd d0, d1, d2
    add  x10, x10, #1
    subs x9, x9, #1
    b.ne 1b
    mark 5
{EXIT}
"""


def test_the_plugin_counts_what_stands_in_the_program(toolbox: Toolbox, tmp_path: Path) -> None:
    marks = count(toolbox, assemble(toolbox, PROGRAM, tmp_path), tmp_path / "marks")
    assert marks.threads == 1
    assert instructions_of(marks.executions[5]) == 1 + 10 * TURNS + 5
    assert class_counts(marks.executions[5]) == {
        "sve": 2 * TURNS,
        "sve-dot": TURNS,
        "neon": TURNS,
        "neon-dot": 2 * TURNS,
        "fp": TURNS,
    }


# Cycles of a turn by the cores' Software Optimization Guides. Neoverse N1: two FMLA of 128 bits, two LDR Q a cycle,
# and two cycles from FADD to FADD. Neoverse V1: four FMLA, three LDR Q, and two cycles.
TURN = {"neoverse-n1": (8.0, 8.0, 2.0), "neoverse-v1": (4.0, 8.0, 4 / 3)}


@pytest.mark.parametrize("name", TURN)
def test_loops_take_the_cycles_that_the_cores_guides_state(
    toolbox: Toolbox, tmp_path: Path, name: str
) -> None:
    marks = count(toolbox, assemble(toolbox, program(), tmp_path), tmp_path / "marks")
    target = load_targets()[name]
    simulator = Simulator(toolbox, target.core, target.sve_bits)
    turns = []
    for number in range(1, 1 + len(LOOPS)):
        executions = marks.executions[number]
        traces = hot_traces(executions)
        costs = simulator.costs(map(code_of, traces))
        turns.append(estimate(traces, costs, instructions_of(executions)).estimated / TURNS)
    assert turns == pytest.approx(TURN[name], rel=0.03)


def test_the_plugin_without_an_output_is_refused(toolbox: Toolbox, tmp_path: Path) -> None:
    qemu = toolbox.ensure(EMULATOR) / "usr/bin/qemu-aarch64"
    for arguments, message in (("", "needs out=FILE"), (f",out={tmp_path}", "cannot be written")):
        done = subprocess.run(
            [str(qemu), "-plugin", f"{compile_plugin(toolbox)}{arguments}", "/nowhere"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode
        assert message in done.stderr


def test_classes_agree_with_llvms_assembler(llvm_mc: Path) -> None:
    expected = [line.split(maxsplit=1) for line in INSTRUCTIONS]
    source = "".join(f"{text}\n" for _, text in expected)
    listing = subprocess.run(
        [str(llvm_mc), "--assemble", "--triple=aarch64", "--mattr=+all", "--show-encoding"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    encodings = re.findall(r"encoding: \[(.*)\]", listing)
    assert len(encodings) == len(expected)
    wrong = []
    for (kind, text), encoding in zip(expected, encodings, strict=True):
        # A letter stands for the bits of an address that only the linker knows; no row looks at them.
        bits = [int(byte.replace("A", "0"), 16) if byte[1:2] == "x" else 0 for byte in encoding.split(",")]
        found = classify(int.from_bytes(bytes(bits), "little")) or "scalar"
        if found != kind:
            wrong.append(f"{text}: {found}, not {kind}")
    assert not wrong


def test_numpy_of_pypi_counts_the_same_twice_and_that_is_published(place: Place, tmp_path: Path) -> None:
    wheel = _numpy(tmp_path)
    done = place.run("armwheels", "publish", str(wheel))
    assert done.returncode == 0, done.stderr
    names = ("gemm-float32", "sum-float32", "small-arrays")
    command = ["armwheels", "bench", str(wheel), "--json", "--target", "graviton3"]
    command += [option for name in names for option in ("--only", name)]
    reports = []
    for last in ([], ["--publish"]):
        done = place.run(*command, *last)
        assert done.returncode == 0, done.stderr
        reports.append(json.loads(done.stdout))
    first, second = (report["measured"][0] for report in reports)
    assert [row["state"] for row in first["rows"]] == ["ran"] * 4
    assert first["rows"] == second["rows"]
    assert "the very wheel" in reports[0]["reference_note"]
    gemm = first["rows"][1]
    # 384 x 384 x 384 multiply-adds, eight in one SVE instruction of 256 bits.
    assert gemm["classes"]["sve"] > 384**3 / 8
    assert min(gemm["instructions"]) < 384**3 / 2
    [kept] = place.home.glob("out/bench/*/instructions-neoverse-v1.json")
    assert json.loads(kept.read_text()) == reports[1]
    [published] = place.home.glob("store/evidence/*/bench-instructions-graviton3/1.json")
    assert json.loads(published.read_text())["body"] == reports[1]
    assert published.parents[1].name == first["wheel"]["sha256"]
    assert not list(place.home.glob("bench/*/site"))


def _numpy(folder: Path) -> Path:
    from builder.bench.install import fetch_reference
    from builder.model.pythons import installable_tags

    found = fetch_reference("numpy", "2.4.6", installable_tags("cp311", ["manylinux_2_27_aarch64"]), folder)
    assert found is not None
    return found
