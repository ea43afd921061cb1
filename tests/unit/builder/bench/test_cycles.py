"""The estimate of cycles from recorded blocks and from what llvm-mca wrote about them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builder.bench.blocks import Block, instructions_of, parse_marks
from builder.bench.cycles import Code, Cost, code_of, costs, estimate, regions
from builder.bench.mca import Simulator
from builder.bench.traces import Trace, hot_traces
from builder.errors import ToolboxError
from builder.model.target import Core
from builder.targets import Targets
from builder.toolbox.toolbox import Toolbox
from tests.helpers import DATA

RECORDED = DATA / "cycles"
CORE = Core(model="demo", width=4, window=100)
NOP, ADD = 0xD503201F, 0x8B020020
TEXTS = {NOP: "nop", ADD: "add\tx0, x1, x2"}


def region(name: str, instructions: int, cycles: int, throughput: float = 1.0) -> dict[str, Any]:
    return {
        "Name": name,
        "Instructions": ["nop"] * instructions,
        "SummaryView": {"TotalCycles": cycles, "BlockRThroughput": throughput},
    }


def cost(code: Code, *found: dict[str, Any]) -> Cost:
    [answer] = costs([code], TEXTS, json.dumps({"CodeRegions": found}), CORE, 0)
    return answer


def test_a_loop_is_simulated_twice_as_long_the_second_time() -> None:
    text = regions([Code(words=(NOP, ADD), loop=True), Code(words=(NOP,), loop=False)], TEXTS)
    first, second, straight = text.split("# LLVM-MCA-BEGIN ")[1:]
    assert (first.split()[0], second.split()[0], straight.split()[0]) == ("0.0", "0.1", "1.0")
    assert 2 * first.count("add") == second.count("add") == 400
    assert straight.count("nop") == 1


def test_a_loops_turn_is_the_difference_of_the_two() -> None:
    code = Code(words=(NOP,) * 100, loop=True)  # four turns, then eight
    assert cost(code, region("0.0", 400, 230), region("0.1", 800, 390)).cycles == 40


def test_straight_code_shares_its_latency_among_the_passes_in_flight() -> None:
    code = Code(words=(NOP,) * 10, loop=False)
    assert cost(code, region("0.0", 10, 80)).cycles == 8  # ten passes in a window of 100
    assert cost(code, region("0.0", 10, 20, throughput=5.5)).cycles == 5.5
    long = Code(words=(NOP,) * 200, loop=False)
    assert cost(long, region("0.0", 200, 90)).cycles == 90


def test_no_core_is_faster_than_its_decoders() -> None:
    assert cost(Code(words=(NOP,) * 10, loop=False), region("0.0", 10, 1)).cycles == 2.5


def test_what_the_model_lacks_is_counted() -> None:
    unknown = 0xFFFFFFFF
    code = Code(words=(NOP, unknown, ADD), loop=False)
    assert "ffff" not in regions([code], TEXTS)
    assert cost(code, region("0.0", 1, 4)).unmodelled == 2
    assert cost(code).unmodelled == 3


def test_the_sum_is_scaled_to_all_instructions() -> None:
    trace = Trace((Block(0, (NOP, ADD)),), False, 40)
    price = Cost(cycles=3, unmodelled=1, loaded_bytes=8, stored_bytes=16)
    found = estimate([trace], {code_of(trace): price}, 100)
    assert (found.estimated, found.coverage, found.unmodelled) == (150, 0.8, 0.5)
    assert (found.loaded_bytes, found.stored_bytes) == (400, 800)
    assert found.at_level_two == 150
    assert found.model_copy(update={"loaded_bytes": 4000}).at_level_two == 300


def test_a_call_without_instructions_takes_no_cycles() -> None:
    assert estimate([], {}, 0).estimated == 0


# With the recorded answers of the tools, played by programs of that name


class RecordedTools:
    """A toolbox whose llvm-mc and llvm-mca write what they were recorded to write, and log each start."""

    def __init__(self, home: Path, *, fail: str = "") -> None:
        self.home = home
        self.pins = SimpleNamespace(digest=lambda part: part)
        self.log = home / "log"
        for tool in ("llvm-mc", "llvm-mca"):
            path = self.llvm(tool)
            ending = "echo 'error: no such CPU' >&2; exit 1" if tool == fail else f"cat {RECORDED / tool}"
            path.write_text(f'#!/bin/sh\ncat > /dev/null\necho {tool} "$@" >> {self.log}\n{ending}\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def llvm(self, program: str) -> Path:
        return self.home / program


def recorded(tools: RecordedTools, targets: Targets) -> list[float]:
    """The estimated cycles of a turn of each recorded loop."""
    marks = parse_marks((RECORDED / "marks").read_text())
    calls = [marks.executions[number] for number in (1, 2, 3)]
    simulator = Simulator(cast(Toolbox, tools), targets["neoverse-n1"].core, 0)
    found = simulator.costs([code_of(trace) for call in calls for trace in hot_traces(call)])
    return [estimate(hot_traces(call), found, instructions_of(call)).estimated / 1000 for call in calls]


def test_recorded_loops_take_the_cycles_that_the_cores_guide_states(tmp_path: Path, targets: Targets) -> None:
    """A Neoverse N1 has two FMLA of 128 bits and two LDR Q in a cycle, and two cycles from FADD to FADD."""
    assert recorded(RecordedTools(tmp_path), targets) == pytest.approx([8, 8, 2], rel=0.03)


def test_costs_are_kept(tmp_path: Path, targets: Targets) -> None:
    tools = RecordedTools(tmp_path)
    assert recorded(tools, targets) == recorded(tools, targets)
    assert [line.split()[0] for line in tools.log.read_text().splitlines()] == ["llvm-mc", "llvm-mca"]
    assert "--mcpu=neoverse-n1" in tools.log.read_text()


@pytest.mark.parametrize("tool", ["llvm-mc", "llvm-mca"])
def test_a_tool_that_fails_is_named(tmp_path: Path, targets: Targets, tool: str) -> None:
    with pytest.raises(ToolboxError, match=f"{tool}: exit code 1: error: no such CPU"):
        recorded(RecordedTools(tmp_path, fail=tool), targets)
    assert not (tmp_path / "bench").exists()
