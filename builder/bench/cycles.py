"""Estimates the core cycles of a workload from its hot traces, by the scheduling models of LLVM. Pure.

``llvm-mca`` simulates a trace on the model of a core: dispatch, pipes, latencies, the reorder buffer. The rules:

Loop
    Simulated until its speed is constant, so that values that one turn hands to the next cost what they cost.
Straight code
    Each pass is taken as independent of the one before. It costs the most of: its pipes' time; its latency, shared
    among the passes that the reorder buffer holds at once.
Both
    No more instructions a cycle than the core decodes. LLVM's models know only the limit of micro-operations.

The sum is scaled from the simulated instructions to all of them. It is the time of a core that never waits: every
load hits the first-level cache and every branch is predicted. So it is closer to a lower bound than to a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from builder.bench.memory import traffic
from builder.bench.model import Cycles
from builder.bench.traces import Trace
from builder.model.base import Frozen
from builder.model.target import Core

CYCLES_VERSION = 1
"""Increase this when the estimate changes: estimates of traces are kept."""

_WARM = 400
"""Simulated instructions of a loop before its turns are timed: more than any core has in flight."""
_LEAST_TURNS = 4


class Code(Frozen):
    """What is simulated of a trace: its instructions, and whether the first follows the last."""

    words: tuple[int, ...]
    loop: bool


class Cost(Frozen):
    """The cost of one pass. ``unmodelled`` instructions are missing in it: the core's model does not have them."""

    cycles: float
    unmodelled: int
    loaded_bytes: int
    stored_bytes: int


def code_of(trace: Trace) -> Code:
    """What is simulated of a trace."""
    return Code(words=trace.words, loop=trace.loop)


def regions(codes: Sequence[Code], texts: Mapping[int, str]) -> str:
    """Return the input of ``llvm-mca``: the instructions of each code, once if it is straight.

    A loop is two regions, one with twice the turns of the other. Their difference is its constant speed.

    Args:
        texts: the assembly text of each word; a word without one is no instruction that LLVM knows.
    """
    lines = []
    for number, code in enumerate(codes):
        body = "".join(f"{texts[word]}\n" for word in code.words if word in texts)
        turns = _turns(code)
        for part, count in enumerate((turns, 2 * turns) if code.loop else (1,)):
            lines.append(f"# LLVM-MCA-BEGIN {number}.{part}\n{body * count}# LLVM-MCA-END\n")
    return "".join(lines)


def _turns(code: Code) -> int:
    return max(_LEAST_TURNS, ceil(_WARM / len(code.words)))


def costs(
    codes: Sequence[Code], texts: Mapping[int, str], output: str, core: Core, vector_bytes: int
) -> list[Cost]:
    """Return the cost of each code, from the JSON that ``llvm-mca`` printed for :func:`regions`."""
    found = {region["Name"]: region for region in json.loads(output)["CodeRegions"]}
    result = []
    for number, code in enumerate(codes):
        first, second = found.get(f"{number}.0"), found.get(f"{number}.1")
        size = len(code.words)
        bytes_of = [traffic(texts[word], vector_bytes) for word in code.words if word in texts]
        modelled, cycles = 0, 0.0
        if first is not None:
            summary = first["SummaryView"]
            modelled = len(first["Instructions"])
            if code.loop and second is not None:
                turns = _turns(code)
                modelled //= turns
                cycles = (second["SummaryView"]["TotalCycles"] - summary["TotalCycles"]) / turns
            else:
                in_flight = max(1.0, core.window / size)
                cycles = max(summary["BlockRThroughput"], summary["TotalCycles"] / in_flight)
        result.append(
            Cost(
                cycles=max(cycles, size / core.width),
                unmodelled=size - modelled,
                loaded_bytes=sum(loaded for loaded, _ in bytes_of),
                stored_bytes=sum(stored for _, stored in bytes_of),
            )
        )
    return result


def estimate(traces: Iterable[Trace], costs_of: Mapping[Code, Cost], instructions: int) -> Cycles:
    """Return the estimate of a workload: the sum over its traces, scaled to all its ``instructions``."""
    cycles = loaded = stored = unmodelled = 0.0
    covered = 0
    for trace in traces:
        cost = costs_of[code_of(trace)]
        covered += trace.instructions
        cycles += cost.cycles * trace.passes
        unmodelled += cost.unmodelled * trace.passes
        loaded += cost.loaded_bytes * trace.passes
        stored += cost.stored_bytes * trace.passes
    scale = instructions / covered if covered else 0.0
    return Cycles(
        estimated=round(cycles * scale),
        coverage=round(covered / instructions, 4) if instructions else 0.0,
        unmodelled=round(unmodelled / covered, 4) if covered else 0.0,
        loaded_bytes=round(loaded * scale),
        stored_bytes=round(stored * scale),
    )
