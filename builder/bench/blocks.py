"""The blocks that the emulator executed between two marks, from the output of ``count.c``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from builder.bench.classes import CLASSES, classes_of
from builder.errors import VerifyError


@dataclass(frozen=True)
class Block:
    """Instructions at consecutive addresses, which the emulator translates at once. The last may be a branch."""

    address: int
    words: tuple[int, ...]

    @property
    def end(self) -> int:
        """The address behind the last instruction."""
        return self.address + 4 * len(self.words)


Executions = Mapping[Block, int]
"""How often each block was executed."""


@dataclass(frozen=True)
class Marks:
    """The executions of blocks up to each mark since the mark before it, and the number of threads."""

    executions: Mapping[int, Executions] = field(default_factory=dict)
    threads: int = 0


def parse_marks(text: str) -> Marks:
    """Parse the plugin's output. Lines behind the last mark are ignored: the process was killed.

    Raises:
        VerifyError: a line does not have the plugin's format.
    """
    blocks: dict[str, Block] = {}
    marks: dict[int, Executions] = {}
    since: dict[Block, int] = {}
    threads = 0
    last_mark = text.rfind("mark ")
    for line in text[: text.find("\n", last_mark) if last_mark >= 0 else len(text)].splitlines():
        fields = line.split()
        try:
            if fields[0] == "mark" and len(fields) == 3:
                marks[int(fields[1])] = since
                since = {}
                threads = max(threads, int(fields[2]))
                continue
            if len(fields) == 4:
                blocks[fields[0]] = Block(int(fields[2], 16), _words(fields[3]))
            block = blocks[fields[0]]
            since[block] = since.get(block, 0) + int(fields[1])
        except (ValueError, KeyError, IndexError):
            raise VerifyError(f"the counting plugin's output has a malformed line: {line[:80]}") from None
    return Marks(marks, threads)


def _words(text: str) -> tuple[int, ...]:
    return tuple(np.frombuffer(bytes.fromhex(text), dtype=">u4").tolist())


def instructions_of(executions: Executions) -> int:
    """The number of executed instructions."""
    return sum(len(block.words) * count for block, count in executions.items())


def class_counts(executions: Executions) -> dict[str, int]:
    """The number of executed instructions of each class that occurs. Scalar instructions have no class."""
    words = np.array([word for block in executions for word in block.words], dtype=np.uint32)
    times = np.repeat(
        np.fromiter(executions.values(), dtype=np.uint64, count=len(executions)),
        [len(block.words) for block in executions],
    )
    kinds = classes_of(words)
    sums = {kind: int(times[kinds == number].sum()) for number, kind in enumerate(CLASSES)}
    return {kind: count for kind, count in sums.items() if count}
