"""The scripts about torch-tuned-kernels: what they make of counts and of OpInfo's lines."""

from __future__ import annotations

import json

from builder.bench.model import BenchReport, Cycles, Machine, Measured, Row, WheelFacts, Workload
from scripts.kernel_opinfo import table as opinfo_table
from scripts.kernel_tables import chart, pairs_of, table

MACHINE = Machine(
    target="neoverse-v1",
    server="graviton3",
    cpu="max",
    emulator="qemu",
    vector_bits=256,
    threads=(1,),
    environment={},
    system="",
    note="",
)
WHEEL = WheelFacts(
    label="v1",
    filename="x.whl",
    sha256="a" * 64,
    bytes=1,
    unpacked_bytes=1,
    libraries=(),
    target="neoverse-v1",
)


def _row(name: str, count: int, estimated: int | None = None) -> Row:
    cycles = (
        Cycles(estimated=estimated, coverage=1, unmodelled=0, loaded_bytes=0, stored_bytes=0)
        if estimated
        else None
    )
    return Row(workload=name, state="ran", instructions=(count, count + 7), cycles=cycles)


def _report(*rows: Row) -> BenchReport:
    names = dict.fromkeys(row.workload for row in rows)
    return BenchReport(
        project="torch-tuned-kernels",
        version="2.9.1",
        python="cp313",
        machine=MACHINE,
        workloads=tuple(
            Workload(name=name, about=f"{name.partition('-')[0]} in words, stock") for name in names
        ),
        reference_note="",
        measured=(Measured(wheel=WHEEL, packages={}, rows=rows),),
    )


def test_a_table_pairs_each_workload_s_two_ways() -> None:
    failed = Row(workload="conv-ours", state="failed", detail="x")
    rows = (_row("mm-stock", 4000, 2000), _row("mm-ours", 1000, 800), _row("conv-stock", 9), failed)
    [pair] = pairs_of(_report(*rows))
    assert (pair.about, pair.factor, pair.cycles) == ("mm in words", 4.0, 2.5)
    assert "| mm in words | 4,000 | 1,000 | 4.00 | 2, 1 | 2.50 |" in table([pair])


def test_a_chart_shows_what_gained_and_the_largest_first() -> None:
    rows = (_row("a-stock", 110), _row("a-ours", 100), _row("b-stock", 300), _row("b-ours", 100))
    rows += (_row("c-stock", 40_000), _row("c-ours", 100))
    drawn = chart(pairs_of(_report(*rows)), "graviton3")
    assert ">a<" not in drawn
    assert drawn.index(">c<") < drawn.index("400 times") < drawn.index(">b<") < drawn.index("3.0 times")


def test_opinfo_s_lines_are_summed_and_a_fault_is_named() -> None:
    lines = (
        {"operation": "mm", "type": "float16", "check": "forward", "run": 5, "failed": 0, "faults": []},
        {"operation": "mm", "type": "float16", "check": "out", "run": 2, "failed": 1, "faults": ["differs"]},
        {"operation": "exp", "type": "float16", "check": "errors", "left_out": "describes no faulty calls"},
        {"taken_over": ["mm"], "calls": {"mm": 6}},
    )
    text, failed = opinfo_table([json.dumps(line) for line in lines])
    assert failed == 1
    assert "| mm | 7 | 1 |" in text
    assert "| all | 7 | 1 |" in text
    assert "Left out 1 times: describes no faulty calls." in text
    assert "FAILED mm float16 out: differs" in text
    assert "mm 6" in text
