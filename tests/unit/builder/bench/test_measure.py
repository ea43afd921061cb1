"""Bench without an emulator: reading counts, and talking to scripts."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.bench import measure
from builder.bench.blocks import Block, Marks, parse_marks
from builder.bench.classes import classify
from builder.bench.counting import counted_row
from builder.bench.measure import (
    Line,
    collect,
    converse,
    how_it_ended,
    parse_lines,
    program_for,
    workloads_of,
)
from builder.errors import VerifyError
from builder.settings import WHEEL_TESTS
from tests.helpers.bench_lines import bench_line

# Counting


def test_the_classes_of_words_that_kernels_are_made_of() -> None:
    words = {
        0x65A20020: "sve",  # fmla z0.s, p0/m, z1.s, z2.s
        0x6462E420: "sve-dot",  # bfmmla z0.s, z1.h, z2.h
        0x4E22CC20: "neon",  # fmla v0.4s, v1.4s, v2.4s
        0x4E829420: "neon-dot",  # sdot v0.4s, v1.16b, v2.16b
        0x3DC00000: "neon",  # ldr q0, [x0]
        0x1E222820: "fp",  # fadd s0, s1, s2
        0xBD400000: None,  # ldr s0, [x0]
        0x8B020020: None,  # add x0, x1, x2
    }
    assert {word: classify(word) for word in words} == words


BLOCKS = """1 2 1000 8b0200200b0200205400006c
mark 2 {threads}
1 10
2 1 100c 04a000006544e0e0
mark 3 {threads}
1 8
2 2
mark 4 {threads}
"""
"""A scalar block of three instructions, and one of SVE with two."""


def marks_of(threads: int = 1) -> Marks:
    return parse_marks(BLOCKS.format(threads=threads))


def test_a_call_is_what_was_executed_up_to_its_mark_and_the_least_call_counts() -> None:
    row = counted_row({"workload": "gemm", "state": "ran", "marks": [2, 3, 4]}, marks_of())
    assert row.instructions == (32, 28)
    assert row.count == 28
    assert row.classes == {"sve": 4}
    assert row.spread == pytest.approx(32 / 28 - 1)
    assert row.detail == ""


def test_a_second_thread_makes_a_count_inexact_and_the_row_says_so() -> None:
    row = counted_row({"workload": "gemm", "state": "ran", "marks": [2, 3]}, marks_of(threads=3))
    assert row.detail == "3 threads ran, so the counts are not exact"


def test_a_mark_that_the_plugin_never_saw_is_a_failure() -> None:
    row = counted_row({"workload": "gemm", "state": "ran", "marks": [4, 5]}, marks_of())
    assert row.state == "failed"
    assert row.count is None


def test_a_block_has_its_address_and_words() -> None:
    scalar, vector = marks_of().executions[3]
    assert scalar == Block(0x1000, (0x8B020020, 0x0B020020, 0x5400006C))
    assert scalar.end == vector.address == 0x100C


def test_a_block_that_is_translated_again_with_other_words_is_another_one() -> None:
    text = "1 1 1000 d503201f\n2 5 1000 8b020020\n3 2 1000 8b020020\nmark 0 1\n"
    assert parse_marks(text).executions[0] == {
        Block(0x1000, (0xD503201F,)): 1,
        Block(0x1000, (0x8B020020,)): 7,
    }


def test_what_follows_the_last_mark_is_ignored() -> None:
    whole = BLOCKS.format(threads=1)
    assert parse_marks(whole + "1 3\n3 12 10") == parse_marks(whole)


@pytest.mark.parametrize(
    "line", ["0 1 2", "7 1", "1 x", "hello", "mark", "mark x 1", "1 1 zz 8b020020", "1 1 1000 8b0200"]
)
def test_lines_that_the_plugin_does_not_write_are_refused(line: str) -> None:
    with pytest.raises(VerifyError, match="output has a malformed line"):
        parse_marks(f"{line}\nmark 0 1\n")


# Talking to scripts


def both(workload: str) -> list[Line]:
    return [bench_line(workload, "started"), bench_line(workload)]


def test_what_a_workload_kills_is_started_anew_without_it() -> None:
    asked: list[list[str]] = []

    def ask(names: Sequence[str]) -> tuple[list[Line], str]:
        asked.append(list(names))
        if "b" in names:
            return [*both("import"), *both("a"), bench_line("b", "started")], "ended by SIGILL"
        return [*both("import"), *both("c")], ""

    answers = collect(["a", "b", "c"], ask)
    assert asked == [["a", "b", "c"], ["c"]]
    assert {name: line["state"] for name, line in answers.items()} == {
        "import": "ran",
        "a": "ran",
        "b": "died",
        "c": "ran",
    }
    assert answers["b"]["detail"] == "ended by SIGILL"


def test_a_package_that_cannot_be_imported_is_asked_once_and_every_row_says_why() -> None:
    calls = 0

    def ask(names: Sequence[str]) -> tuple[list[Line], str]:
        nonlocal calls
        calls += 1
        return [
            bench_line("import", "started"),
            bench_line("import", "failed", detail="ImportError: libx"),
        ], ""

    answers = collect(["a"], ask)
    assert calls == 1
    assert answers["a"]["state"] == "failed"
    assert "ImportError: libx" in answers["a"]["detail"]


def test_a_script_that_says_nothing_ends_and_is_told() -> None:
    answers = collect(["a"], lambda names: ([], "ended with 1: no such module"))
    assert "no such module" in answers["a"]["detail"]
    assert collect(["a"], lambda names: (both("import"), ""))["a"]["state"] == "failed"


def test_lines_of_others_and_lines_cut_short_are_left_out() -> None:
    assert parse_lines(["warning: x", '{"workload": "a"', '{"workload": "b"}']) == [{"workload": "b"}]


def test_an_exit_code_becomes_a_sentence() -> None:
    assert how_it_ended(0, "x") == ""
    assert how_it_ended(-4, "") == "ended by SIGILL, an illegal instruction"
    assert how_it_ended(139, "") == "ended by SIGSEGV"
    assert how_it_ended(1, "boom") == "ended with 1: boom"


def test_a_process_silent_for_too_long_is_stopped(tmp_path: Path) -> None:
    program = 'echo \'{"workload": "a", "state": "started"}\'; exec sleep 60'
    lines, ending = converse(["sh", "-c", program], os.environ, tmp_path, lambda line: None, silence=1)
    assert lines == [bench_line("a", "started")]
    assert ending == "killed after 1 s without output"


def test_each_line_begins_the_silence_anew(tmp_path: Path) -> None:
    program = 'for n in 1 2 3 4; do sleep 0.5; echo \'{"workload": "a"}\'; done'
    lines, ending = converse(["sh", "-c", program], os.environ, tmp_path, lambda line: None, silence=1.5)
    assert (len(lines), ending) == (4, "")


@pytest.mark.parametrize("project", ["numpy", "torch", "tflite-runtime"])
def test_scripts_list_their_workloads_without_the_package(project: str) -> None:
    program = program_for(project, WHEEL_TESTS / "msgpack_wheel.py")
    assert program is not None
    assert program[0].name != "tests_bench.py"
    workloads = workloads_of(program)
    assert len({workload.name for workload in workloads}) == len(workloads) > 5


def test_a_project_without_a_bench_script_is_measured_by_its_tests() -> None:
    program = program_for("no-such.project", WHEEL_TESTS / "tflite_runtime_wheel.py")
    assert program is not None
    names = [workload.name for workload in workloads_of(program)]
    assert "loop" in names
    assert "import" not in names  # the kit measures it first
    assert program_for("no-such.project") is None


def test_a_check_that_fails_is_a_failed_workload(tmp_path: Path) -> None:
    tests = tmp_path / "json_wheel.py"
    tests.write_text(
        "from kit import Result, report\n"
        "def good() -> Result:\n    return True, 'fine'\n"
        "def bad() -> Result:\n    return False, 'seen: 3'\n"
        "if __name__ == '__main__':\n    report({'good': good, 'bad': bad})\n"
    )
    program = program_for("no-such.project", tests)
    assert program is not None
    command = [sys.executable, *map(str, program), "time", "0", "good", "bad"]
    lines, ending = converse(command, os.environ, tmp_path, lambda line: None)
    states = {line["workload"]: (line["state"], line.get("detail")) for line in lines}
    assert ending == ""
    assert states == {
        "import": ("ran", None),
        "good": ("ran", None),
        "bad": ("failed", "AssertionError: seen: 3"),
    }


def _field(data: bytes, table: int, slot: int) -> int | None:
    """Where a field of a FlatBuffers table stands ("FlatBuffer Internals"); ``None`` where it is left out."""
    vtable = table - int.from_bytes(data[table : table + 4], "little", signed=True)
    if 4 + 2 * slot >= int.from_bytes(data[vtable : vtable + 2], "little"):
        return None
    place = vtable + 4 + 2 * slot
    offset = int.from_bytes(data[place : place + 2], "little")
    return table + offset if offset else None


def _followed(data: bytes, place: int | None) -> int:
    assert place is not None
    return place + int.from_bytes(data[place : place + 4], "little")


def test_models_of_tensorflow_lite_are_written_as_flatbuffers(monkeypatch: pytest.MonkeyPatch) -> None:
    script = measure.SCRIPTS / "tflite_runtime_bench.py"
    monkeypatch.syspath_prepend(str(script.parent))
    bench = importlib.import_module(script.stem)
    weights = bytes(range(128))
    shapes = [[4, 16], [8, 16], [8], [4, 8]]
    data = bench.model(bench.FULLY_CONNECTED, {0: ("B", 0)}, shapes, [weights, bytes(32)], True)
    assert data[4:8] == b"TFL3"
    root = _followed(data, 0)
    [graph] = _tables(data, _field(data, root, 2))
    tensors = _tables(data, _field(data, graph, 0))
    found = []
    for tensor in tensors:
        vector = _followed(data, _field(data, tensor, 0))
        count = int.from_bytes(data[vector : vector + 4], "little")
        found.append([data[vector + 4 + 4 * n] for n in range(count)])
    assert found == shapes
    empty, stored, _ = _tables(data, _field(data, root, 4))
    assert _field(data, empty, 0) is None
    vector = _followed(data, _field(data, stored, 0))
    # TensorFlow Lite refuses constants that are not aligned to 16 bytes.
    assert (vector + 4) % 16 == 0
    assert data[vector + 4 : vector + 4 + 128] == weights


def _tables(data: bytes, place: int | None) -> list[int]:
    vector = _followed(data, place)
    count = int.from_bytes(data[vector : vector + 4], "little")
    return [_followed(data, vector + 4 + 4 * number) for number in range(count)]


def test_every_workload_of_numpy_runs_here(tmp_path: Path) -> None:
    script = measure.SCRIPTS / "numpy_bench.py"
    names = [workload.name for workload in workloads_of((script,))]
    lines, ending = converse(
        [sys.executable, str(script), "time", "0", *names], os.environ, tmp_path, lambda line: None
    )
    assert ending == ""
    ran = {line["workload"]: line["seconds"] for line in lines if line["state"] == "ran"}
    assert list(ran) == ["import", *names]
    assert all(value > 0 for samples in ran.values() for value in samples)


def test_a_script_tells_apart_what_is_missing_and_what_is_broken(tmp_path: Path) -> None:
    kit = measure.SCRIPTS / "kit.py"
    script = tmp_path / "demo_bench.py"
    script.write_text(
        "from kit import Unavailable, Workload, main\n"
        "def missing(): raise Unavailable('no engine')\n"
        "def broken(): return lambda: 1 // 0\n"
        "main('json', (Workload('m', '', missing), Workload('b', '', broken), Workload('g', '', lambda: list)))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "count", "2", "m", "b", "g"],
        env={**os.environ, "PYTHONPATH": str(kit.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = {line["workload"]: line for line in parse_lines(done.stdout.splitlines())}
    assert lines["import"]["marks"] == [0, 1]
    assert lines["m"] == bench_line("m", "unavailable", detail="no engine")
    assert lines["b"]["detail"].startswith("ZeroDivisionError")
    assert lines["g"]["marks"] == [2, 3, 4]
