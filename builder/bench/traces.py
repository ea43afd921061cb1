"""Divides executed blocks into traces: loops and straight pieces of code, each with its number of passes. Pure.

A trace is what the estimate of cycles simulates at once (:mod:`builder.bench.cycles`). The emulator splits code at
each branch and counts each block on its own, so a loop is found from the counts. A trace begins with the hottest
block and goes on to the likeliest successor of each block. It takes as many executions from all its blocks as the
rarest one has left. Later traces take the rest, so that a loop with two ways becomes two loops.

The branch encodings are from the Arm Architecture Reference Manual for A-profile (DDI 0487), C4.1 "Branches,
Exception Generating and System instructions".
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from builder.bench.blocks import Block, Executions, instructions_of

COVERAGE = 0.95
"""The share of executed instructions whose traces are simulated. The rest are many rare blocks."""
LIKELY = 0.4
"""A trace goes on to a block that is left at least this often per execution. Of two ways, one has half."""
_LONGEST = 4096
"""Instructions of a trace, to bound the time of the simulation."""


@dataclass(frozen=True)
class Trace:
    """Blocks that follow each other, and how often. ``loop`` is whether the first block follows the last one."""

    blocks: tuple[Block, ...]
    loop: bool
    passes: int

    @property
    def words(self) -> tuple[int, ...]:
        """The instructions of one pass."""
        return tuple(word for block in self.blocks for word in block.words)

    @property
    def instructions(self) -> int:
        """The executed instructions of all passes."""
        return self.passes * sum(len(block.words) for block in self.blocks)


def hot_traces(executions: Executions, coverage: float = COVERAGE) -> tuple[Trace, ...]:
    """Return traces that together have ``coverage`` of the executed instructions, the hottest first.

    No execution of a block is part of two traces.
    """
    wanted = coverage * instructions_of(executions)
    code = _Code(executions)
    traces = []
    while wanted > 0 and (trace := code.take_hottest()) is not None:
        traces.append(trace)
        wanted -= trace.instructions
    return tuple(traces)


class _Code:
    """The executions that are not yet part of a trace."""

    def __init__(self, executions: Executions) -> None:
        self._left = dict(executions)
        self._at: dict[int, list[Block]] = defaultdict(list)
        self._before: dict[int, list[Block]] = defaultdict(list)
        for block in executions:
            self._at[block.address].append(block)
            for address in successors(block):
                self._before[address].append(block)
        self._hottest = [self._heat(block) for block in executions]
        heapq.heapify(self._hottest)

    def _heat(self, block: Block) -> tuple[int, int, tuple[int, ...], Block]:
        return -len(block.words) * self._left[block], block.address, block.words, block

    def take_hottest(self) -> Trace | None:
        """Return the trace through the block with the most instructions left; ``None`` if none are left."""
        while self._hottest:
            heat, *_, block = heapq.heappop(self._hottest)
            if -heat != len(block.words) * self._left[block]:
                continue  # a trace took some of them, and the block was put back with the rest
            blocks, loop = self._path(block)
            passes = min(self._left[one] for one in blocks)
            for one in blocks:
                self._left[one] -= passes
                if self._left[one]:
                    heapq.heappush(self._hottest, self._heat(one))
            return Trace(blocks, loop, passes)
        return None

    def _path(self, hottest: Block) -> tuple[tuple[Block, ...], bool]:
        """Return the blocks of the trace through a block, and whether it is a loop."""
        blocks, loop = self._forward(hottest)
        if loop:
            return tuple(blocks), True
        while len(blocks) < _LONGEST:
            previous = self._likeliest(blocks[0], self._before[blocks[0].address])
            if previous is None or previous in blocks:
                break
            blocks.insert(0, previous)
        # From the block that calls a function, it is known where the function returns to.
        again, loop = self._forward(blocks[0])
        return (tuple(again), loop) if hottest in again else (tuple(blocks), False)

    def _forward(self, first: Block) -> tuple[list[Block], bool]:
        """Return the blocks that likely follow ``first``, with it, and whether they are a loop."""
        blocks = [first]
        calls: list[int] = []
        size = len(first.words)
        while size < _LONGEST:
            last = blocks[-1]
            addresses = successors(last)
            if is_call(last):
                calls.append(last.end)
            elif is_return(last) and calls:
                addresses = (calls.pop(),)
            likely = self._likely(last, (block for at in addresses for block in self._at[at]))
            if first in likely:
                return blocks, True
            if not likely or likely[0] in blocks:
                break
            blocks.append(likely[0])
            size += len(likely[0].words)
        return blocks, False

    def _likeliest(self, block: Block, others: Iterable[Block]) -> Block | None:
        return next(iter(self._likely(block, others)), None)

    def _likely(self, block: Block, others: Iterable[Block]) -> list[Block]:
        """Return those of ``others`` that are not too rare, first the one with the nearest executions."""
        count = self._left[block]

        def distance(other: Block) -> tuple[float, int, tuple[int, ...]]:
            fewer, more = sorted((count, self._left[other]))
            return more / fewer, other.address, other.words

        return sorted(
            (other for other in others if self._left[other] >= max(1.0, LIKELY * count)), key=distance
        )


def is_call(block: Block) -> bool:
    """Whether the last instruction is BL or BLR."""
    return block.words[-1] >> 26 == 0b100101 or block.words[-1] & 0xFFFFFC1F == 0xD63F0000


def is_return(block: Block) -> bool:
    """Whether the last instruction is RET."""
    return block.words[-1] & 0xFFFFFC1F == 0xD65F0000


def successors(block: Block) -> tuple[int, ...]:
    """Return the addresses that may follow a block: the target of its last branch and the address behind it.

    What follows a branch to a register is not known. A call is followed by what it calls.
    """
    last, word = block.end - 4, block.words[-1]
    if word >> 25 == 0b1101011:  # BR, BLR, RET
        return ()
    if word >> 26 & 0x1F == 0b00101:  # B, BL
        return (last + _offset(word, 0, 26),)
    if word >> 25 == 0b0101010 or word >> 25 & 0x3F == 0b011010:  # B.cond; CBZ, CBNZ
        return (last + _offset(word, 5, 19), block.end)
    if word >> 25 & 0x3F == 0b011011:  # TBZ, TBNZ
        return (last + _offset(word, 5, 14), block.end)
    return (block.end,)


def _offset(word: int, start: int, bits: int) -> int:
    """Return the signed field of a word as bytes; it counts instructions."""
    value = word >> start & (1 << bits) - 1
    return 4 * (value - (1 << bits) if value >> bits - 1 else value)
