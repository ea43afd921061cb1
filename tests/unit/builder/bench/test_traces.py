"""Executed blocks become traces: loops of several blocks, two ways through a loop, calls and their returns."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from builder.bench.blocks import Block, instructions_of, parse_marks
from builder.bench.traces import Trace, hot_traces, is_call, is_return, successors
from tests.helpers import DATA

NOP, RET, BLR, BR = 0xD503201F, 0xD65F03C0, 0xD63F0020, 0xD61F0220
SVC = 0xD4000001


def branch(kind: str, offset: int) -> int:
    """The word of a branch by ``offset`` instructions."""
    base, start, bits = {
        "b": (0x14000000, 0, 26),
        "bl": (0x94000000, 0, 26),
        "b.ne": (0x54000001, 5, 19),
        "cbz": (0xB4000000, 5, 19),
        "cbnz": (0x35000000, 5, 19),
        "tbz": (0x36180000, 5, 14),
        "tbnz": (0xB7180000, 5, 14),
    }[kind]
    return base | (offset & (1 << bits) - 1) << start


def block(address: int, size: int, last: int = NOP) -> Block:
    return Block(address, (NOP,) * (size - 1) + (last,))


def only(traces: tuple[Trace, ...]) -> Trace:
    [trace] = traces
    return trace


def test_what_follows_a_block_is_read_from_its_last_instruction() -> None:
    assert successors(block(0x100, 4)) == (0x110,)
    assert successors(block(0x100, 4, SVC)) == (0x110,)
    assert successors(block(0x100, 4, branch("b", -3))) == (0x100,)
    assert successors(block(0x100, 4, branch("bl", 1 << 20))) == (0x10C + (4 << 20),)
    for kind in ("b.ne", "cbz", "cbnz", "tbz", "tbnz"):
        assert successors(block(0x100, 4, branch(kind, -3))) == (0x100, 0x110)
    for word in (RET, BLR, BR):
        assert successors(block(0x100, 4, word)) == ()


def test_calls_and_returns_are_known() -> None:
    assert is_call(block(0, 1, branch("bl", -1)))
    assert is_call(block(0, 1, BLR))
    assert is_return(block(0, 1, RET))
    assert not is_call(block(0, 1, branch("b", -1)))
    assert not is_return(block(0, 1, BR))


def test_a_block_that_branches_to_itself_is_a_loop() -> None:
    loop = block(0x100, 4, branch("b.ne", -3))
    assert hot_traces({loop: 1000, block(0x200, 2, RET): 1}) == (Trace((loop,), True, 1000),)


def test_a_loop_of_several_blocks_is_one_trace() -> None:
    """The emulator splits a loop at a page and where it has 512 instructions."""
    first, second = block(0xF00, 64), block(0x1000, 40, branch("b.ne", -103))
    entry = block(0xEF0, 68)
    trace = only(hot_traces({second: 1000, entry: 1, first: 999}))
    assert trace.loop
    assert set(trace.blocks) == {first, second}
    assert trace.passes == 999


def test_a_loop_with_two_ways_becomes_two_loops() -> None:
    head = block(0x100, 3, branch("cbz", 11))  # to 0x134
    left = block(0x10C, 10, branch("b", -12))
    right = block(0x134, 12, branch("b", -24))
    traces = hot_traces({head: 1000, left: 520, right: 480}, 1.0)
    assert [(set(trace.blocks), trace.loop, trace.passes) for trace in traces] == [
        (
            {right, head},
            True,
            480,
        ),  # 12 instructions that are executed 480 times, before 10 that are 520 times
        ({left, head}, True, 520),
    ]


def test_a_call_goes_on_behind_it_after_the_return() -> None:
    head = block(0x100, 2, branch("bl", 0x3F))  # to 0x200
    called = block(0x200, 5, RET)
    behind = block(0x108, 2, branch("b.ne", -3))
    trace = only(hot_traces({head: 500, called: 500, behind: 500}))
    assert trace.loop
    assert set(trace.blocks) == {head, called, behind}


def test_straight_code_begins_before_its_hottest_block() -> None:
    first, second, third = block(0x100, 2), block(0x108, 9), block(0x12C, 3, RET)
    assert hot_traces({third: 10, second: 10, first: 10}) == (Trace((first, second, third), False, 10),)


def test_rare_blocks_are_left_out() -> None:
    loop, rare = block(0x100, 4, branch("b.ne", -3)), block(0x200, 4, RET)
    assert hot_traces({loop: 96, rare: 4}) == (Trace((loop,), True, 96),)
    assert hot_traces({loop: 94, rare: 6})[1] == Trace((rare,), False, 6)
    assert hot_traces({}) == ()


COUNTS = st.integers(min_value=1, max_value=10**6)
BLOCKS = st.builds(
    block,
    st.integers(min_value=0, max_value=12).map(lambda n: 0x1000 + 8 * n),
    st.integers(min_value=1, max_value=6),
    st.one_of(
        st.just(NOP),
        st.just(RET),
        st.builds(branch, st.sampled_from(["b", "bl", "b.ne", "tbz"]), st.integers(-12, 12)),
    ),
)


@given(st.dictionaries(BLOCKS, COUNTS, max_size=12))
def test_each_execution_is_part_of_one_trace(executions: dict[Block, int]) -> None:
    traces = hot_traces(executions, 1.0)
    taken: Counter[Block] = Counter()
    for trace in traces:
        assert len(set(trace.blocks)) == len(trace.blocks)
        for one in trace.blocks:
            taken[one] += trace.passes
    assert taken == Counter(executions)
    assert sum(trace.instructions for trace in traces) == instructions_of(executions)


@given(st.dictionaries(BLOCKS, COUNTS, min_size=1, max_size=12), st.floats(min_value=0.1, max_value=1.0))
def test_traces_have_the_asked_share_of_the_instructions(
    executions: dict[Block, int], coverage: float
) -> None:
    traces = hot_traces(executions, coverage)
    covered = sum(trace.instructions for trace in traces)
    assert covered >= coverage * instructions_of(executions) - 1
    assert covered - traces[-1].instructions < coverage * instructions_of(executions)


def test_recorded_loops_are_found() -> None:
    marks = parse_marks((DATA / "cycles/marks").read_text())
    found = [only(hot_traces(marks.executions[number])) for number in (1, 2, 3)]
    assert [(len(trace.words), len(trace.blocks), trace.loop, trace.passes) for trace in found] == [
        (18, 1, True, 999),
        (6, 1, True, 999),
        (7, 2, True, 999),
    ]
