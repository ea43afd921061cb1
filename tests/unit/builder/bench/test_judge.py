"""A wheel is judged by the wheels that people have instead of it."""

from __future__ import annotations

from builder.bench.judge import LIMIT, judge
from builder.bench.model import BenchReport, Cycles, Machine, Measured, Row, State, WheelFacts
from builder.model.recipe import Slower

MACHINE = Machine(
    target="neoverse-v1",
    server="graviton3",
    cpu="max",
    emulator="qemu",
    vector_bits=256,
    threads=(1,),
    environment={},
    system="Debian",
    note="",
)


def row(workload: str, *counts: int, state: State = "ran", detail: str = "") -> Row:
    return Row(workload=workload, state=state, detail=detail, instructions=counts)


def wheel(label: str, *rows: Row) -> Measured:
    facts = WheelFacts(
        label=label,
        filename=f"{label}.whl",
        sha256=label[0] * 64,
        bytes=1,
        unpacked_bytes=1,
        libraries=(),
        target=None,
    )
    return Measured(wheel=facts, packages={}, rows=rows)


def report(other: Measured, own: Measured) -> BenchReport:
    return BenchReport(
        project="demo",
        version="1.0",
        python="cp311",
        machine=MACHINE,
        workloads=(),
        reference_note="",
        measured=(other, own),
    )


PYPI = wheel("PyPI", row("import", 1000), row("sort", 1000, 1001), row("exp", 4000))


def test_a_fault_has_the_ratio_of_the_estimated_cycles() -> None:
    def estimated(count: int, cycles: int) -> Row:
        found = Cycles(estimated=cycles, coverage=1, unmodelled=0, loaded_bytes=0, stored_bytes=0)
        return row("sort", count).model_copy(update={"cycles": found})

    reports = [report(wheel("PyPI", estimated(1000, 800)), wheel("own", estimated(1370, 720)))]
    verdict = judge("o" * 64, "generic", reports, ())
    assert verdict.faults == (
        "sort takes 1.370 times the instructions of PyPI, and an estimated 0.90 times its cycles",
    )


def test_a_wheel_at_the_limit_passes() -> None:
    own = wheel("own", row("import", 1000), row("sort", 1020), row("exp", 1000))
    verdict = judge("o" * 64, "generic", [report(PYPI, own)], ())
    assert verdict.passed
    assert verdict.comparisons[0].ratios == {"import": 1.0, "sort": 1.02, "exp": 0.25}
    assert verdict.worst == (1.02, "sort", "PyPI")
    assert verdict.limit == LIMIT == 1.02


def test_a_slower_workload_is_a_fault_that_says_how_much() -> None:
    own = wheel("own", row("import", 1000), row("sort", 1690), row("exp", 4000))
    verdict = judge("o" * 64, "generic", [report(PYPI, own)], ())
    assert not verdict.passed
    assert verdict.faults == ("sort takes 1.688 times the instructions of PyPI",)


def test_each_other_wheel_counts() -> None:
    own = wheel("own", row("sort", 1000))
    before = wheel("the published one", row("sort", 900))
    verdict = judge("o" * 64, "generic", [report(PYPI, own), report(before, own)], ())
    assert verdict.faults == ("sort takes 1.111 times the instructions of the published one",)
    assert [one.against for one in verdict.comparisons] == ["PyPI", "the published one"]


def test_calls_that_differ_are_no_fault() -> None:
    other, own = wheel("PyPI", row("solve", 1000, 1100)), wheel("own", row("solve", 1090, 1200))
    assert judge("o" * 64, "generic", [report(other, own)], ()).passed


def test_what_the_recipe_names_is_allowed_and_shown() -> None:
    own = wheel("own", row("sort", 1690), row("exp", 5000))
    allow = (
        Slower(workload="sor*", limit=1.7, why="more, but wider, instructions"),
        Slower(workload="exp", limit=1.3, why="of another target", targets=("neoverse-v1",)),
    )
    verdict = judge("o" * 64, "generic", [report(PYPI, own)], allow)
    assert verdict.allowed == {"sort": "more, but wider, instructions"}
    assert verdict.faults == ("exp takes 1.250 times the instructions of PyPI",)
    assert judge("o" * 64, "neoverse-v1", [report(PYPI, own)], allow).passed


def test_an_exception_has_a_limit_and_allows_no_failure() -> None:
    own = wheel("own", row("sort", 1690), row("exp", state="died", detail="SIGILL"))
    allow = (Slower(workload="sort", limit=1.6, why="x"), Slower(workload="exp", limit=9, why="y"))
    verdict = judge("o" * 64, "generic", [report(PYPI, own)], allow)
    assert verdict.faults == ("sort takes 1.688 times the instructions of PyPI", "exp died: SIGILL")
    assert verdict.allowed == {}


def test_an_exception_of_no_workload_is_a_fault() -> None:
    own = wheel("own", row("sort", 1000))
    verdict = judge("o" * 64, "generic", [report(PYPI, own)], (Slower(workload="srot", limit=2, why="x"),))
    assert verdict.faults == ("the recipe allows srot to be slower, but there is no such workload",)


def test_what_dies_or_is_missing_is_a_fault() -> None:
    own = wheel(
        "own",
        row("import", 1000),
        row("sort", state="died", detail="SIGILL"),
        row("exp", state="unavailable", detail="no such kernel"),
    )
    verdict = judge("o" * 64, "generic", [report(PYPI, own)], ())
    assert verdict.faults == ("sort died: SIGILL", "exp is missing, and PyPI has it: no such kernel")


def test_what_only_this_wheel_has_is_no_fault() -> None:
    other = wheel("PyPI", row("int8", state="unavailable"), row("bf16", state="failed", detail="x"))
    own = wheel("own", row("int8", 10), row("bf16", 10), row("fp8", state="unavailable"))
    assert judge("o" * 64, "generic", [report(other, own)], ()).passed


def test_without_another_wheel_there_is_nothing_to_be_worse_than() -> None:
    verdict = judge(
        "o" * 64, "generic", (), (Slower(workload="x", limit=2, why="y"),), "there is no other wheel"
    )
    assert verdict.passed
    assert (verdict.worst, verdict.note) == (None, "there is no other wheel")
