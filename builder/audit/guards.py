"""Which instructions of a function stand behind a test of the CPU.

A library that serves several CPUs asks once, keeps the answer in variables, and tests them before it runs what
only some CPUs have. :func:`examine` follows the values of registers through one function in the order of its
addresses. A conditional branch on such a variable, or on what a function that asks returned, is a guard. An
instruction is guarded if every path from the start of the function to it takes the same way at one guard, or if
no path leads to it where all tested bits are zero.

Encodings are those of DDI 0487, section C4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from builder.audit.decode import Words

_CALL_CLOBBERED = range(19)  # AAPCS64, section 6.1.1
_ARGUMENTS = range(9)  # with x8, where a result lies that is no register's size
_MADE_BY = 16  # words that may have made a plain value; what has more of them is not followed
_XZR = 31
_SP = 31


@dataclass(frozen=True)
class Examined:
    """What :func:`examine` found in one function.

    ``guarded`` are the addresses behind a guard. ``written`` are those of the bytes of variables that may keep an
    answer of the CPU, ``taken`` all that the function makes, and ``passed`` those that it hands to a call.
    ``returns_answer`` says whether it returns an answer of the CPU, and ``may_answer`` whether what it returns may
    depend on one: not if it is a constant or the result of another call, that no guard chose.
    """

    guarded: frozenset[int]
    written: frozenset[int]
    taken: frozenset[int]
    passed: frozenset[int]
    returns_answer: bool
    may_answer: bool


def examine(
    start: int,
    words: Words,
    *,
    variables: Collection[int] = (),
    answers: Callable[[int], bool] = lambda _place: False,
    fills: Callable[[int], bool] = lambda _place: False,
    pointer_at: Callable[[int], int | None] = lambda _slot: None,
    resolves: bool = False,
) -> Examined:
    """Examine the function whose ``words`` begin at address ``start``.

    ``variables`` are addresses that hold answers of the CPU. ``answers`` tells of the address of a call whether its
    result is one, and ``fills`` whether it may write answers where its arguments point. ``pointer_at`` returns what
    the loader writes at an address. A resolver of an IFUNC is given an answer by the loader (``resolves``).
    """
    scan = _Scan(variables, answers, fills, pointer_at)
    if resolves:
        scan.given_an_answer()
    code: list[int] = words.tolist()
    for index, word in enumerate(code):
        scan.arrive(index)
        for step in _steps()[word >> 24]:
            if word & step.mask == step.value:
                step.take(scan, word, start + 4 * index, index)
                break
        way = ways_of(word, index)
        if way is not None:
            scan.branch(index, way)
            # A tail call returns what the other function does.
            scan.returns_answer |= any(not 0 <= aim < len(code) for aim in way) and answers(start + 4 * index)
    guarded = frozenset(_behind(code, scan.guards) if scan.guards else [])
    chosen = [one for made, one in scan.written_plain if not guarded.isdisjoint(made)]
    return Examined(
        guarded=frozenset(start + 4 * index for index in guarded),
        written=frozenset(scan.written.union(*chosen)),
        taken=frozenset(scan.taken),
        passed=frozenset(scan.passed),
        returns_answer=scan.returns_answer,
        may_answer=scan.returns_answer or scan.returns_unknown or not guarded.isdisjoint(scan.returned_plain),
    )


def unreached(start: int, words: Words) -> frozenset[int]:
    """Return the addresses of a function that no branch leads to: its constants, and code of exceptions.

    A function with a jump through a register may lead anywhere, so that nothing of it is returned.
    """
    code: list[int] = words.tolist()
    if not code or any(_jumps(code, index) for index in range(len(code))):
        return frozenset()
    blocks, following = _blocks(code)
    rest = set(range(len(blocks))) - set(_order(following))
    return frozenset(start + 4 * index for block in rest for index in range(*blocks[block]))


class _Scan:
    """What is known of the registers at one point: addresses, answers of the CPU, and what is plainly none.

    Plain are constants, results of calls that do not answer for the CPU, and what is made of these: by the indexes
    of the words that may have made them.
    """

    def __init__(
        self,
        variables: Collection[int],
        answers: Callable[[int], bool],
        fills: Callable[[int], bool],
        pointer_at: Callable[[int], int | None],
    ) -> None:
        self._variables, self._answers, self._pointer_at = variables, answers, pointer_at
        self._fills = fills
        self._known: dict[int, int] = {}
        self._asked: set[int] = set()
        self._plain: dict[int, frozenset[int]] = {}
        self._in_frame: dict[int, int] = {}  # registers that hold an address on the stack
        self._answered_from: int | None = (
            None  # a call that asks was given an object on the stack, from here on
        )
        self._flags = False
        self._plain_flags: frozenset[int] | None = None
        self._saved: dict[int, tuple[int | None, bool]] = {}  # on the stack, by the offset
        self._left: dict[int, tuple[dict[int, int], set[int], dict[int, frozenset[int]], bool]] = {}
        self._falls_through = True
        self.written: set[int] = set()
        self.written_plain: list[tuple[frozenset[int], range]] = []
        self.taken: set[int] = set()
        self.passed: set[int] = set()
        self.guards: list[int] = []
        self.returns_answer = False
        self.returns_unknown = False
        self.returned_plain: set[int] = set()

    def given_an_answer(self) -> None:
        """Start with the kernel's word for the CPU in x0 (glibc, sysdeps/aarch64/dl-irel.h)."""
        self._asked.add(0)

    def _set(self, register: int, address: int | None = None, *, asked: bool = False) -> None:
        self._known.pop(register, None)
        self._plain.pop(register, None)
        self._in_frame.pop(register, None)
        self._asked.discard(register)
        if register == _XZR:
            return
        if address is not None:
            self._known[register] = address
        if asked:
            self._asked.add(register)

    def arrive(self, index: int) -> None:
        """Come to a word. Behind an unconditional branch, what is known is what the first branch to it knew."""
        left = self._left.pop(index, None)
        if left is not None:
            plain = left[2]
            if self._falls_through:
                self._plain = _merged(self._plain, plain)
            else:
                self._known, self._asked, self._plain, self._flags = left
            self._plain_flags = None
        self._falls_through = True

    def branch(self, index: int, way: tuple[int, ...]) -> None:
        """Leave a word by its branch; an earlier aim was passed already."""
        self._falls_through = index + 1 in way
        for aim in way:
            if aim <= index + 1:
                continue
            if aim in self._left:
                known, asked, plain, flags = self._left[aim]
                self._left[aim] = (known, asked, _merged(plain, self._plain), flags)
            else:
                self._left[aim] = (dict(self._known), set(self._asked), dict(self._plain), self._flags)

    def page(self, word: int, place: int, _index: int) -> None:
        self._set(word & 31, (place & ~0xFFF) + _immediate21(word) * 4096)

    def near(self, word: int, place: int, _index: int) -> None:
        self._set(word & 31, place + _immediate21(word))
        self.taken.add(place + _immediate21(word))

    def add(self, word: int, _place: int, _index: int) -> None:
        base, asked = self._known.get(word >> 5 & 31), word >> 5 & 31 in self._asked
        address = None if base is None else base + ((word >> 10 & 0xFFF) << (12 if word & 0x400000 else 0))
        self._set(word & 31, address, asked=asked)
        if word >> 5 & 31 == _SP and word & 31 != _SP:
            self._in_frame[word & 31] = word >> 10 & 0xFFF
        if address is not None:
            self.taken.add(address)

    def load(self, word: int, _place: int, _index: int) -> None:
        size, base = word >> 30, self._known.get(word >> 5 & 31)
        if size == 3 and word >> 22 & 3 == 2:  # prefetch
            return
        if word >> 5 & 31 == _SP:
            offset = (word >> 10 & 0xFFF) << size
            answered = self._answered_from is not None and offset >= self._answered_from
            address, asked = self._saved.get(offset, (None, answered))
            self._set(word & 31, address, asked=asked)
            return
        address = None if base is None else base + ((word >> 10 & 0xFFF) << size)
        answer = address in self._variables or base in self._variables
        aim = self._pointer_at(address) if address is not None and size == 3 else None
        self._set(word & 31, aim, asked=answer)
        if aim is not None:
            self.taken.add(aim)

    def load_by_register(self, word: int, _place: int, _index: int) -> None:
        """An element of an array; also loads with a signed offset, whose address is not followed."""
        if word >> 22 & 3:  # otherwise a store
            self._set(word & 31, asked=self._known.get(word >> 5 & 31) in self._variables)

    def load_pair(self, word: int, _place: int, _index: int) -> None:
        base, offset, size = word >> 5 & 31, _signed(word >> 15 & 0x7F, 7), 8 if word >> 31 else 4
        answer = self._known.get(base) in self._variables
        for number, register in enumerate((word & 31, word >> 10 & 31)):
            saved = self._saved.get((offset + number) * size) if base == _SP else None
            address, asked = saved or (None, answer)
            self._set(register, address, asked=asked)

    def store_pair(self, word: int, _place: int, _index: int) -> None:
        if word >> 5 & 31 == _SP and word >> 23 & 3 == 2:  # a signed offset, which leaves sp as it is
            offset, size = _signed(word >> 15 & 0x7F, 7), 8 if word >> 31 else 4
            for number, register in enumerate((word & 31, word >> 10 & 31)):
                self._saved[(offset + number) * size] = self._known.get(register), register in self._asked

    def store(self, word: int, _place: int, index: int) -> None:
        base, offset = self._known.get(word >> 5 & 31), (word >> 10 & 0xFFF) << (word >> 30)
        if word >> 5 & 31 == _SP:
            self._saved[offset] = self._known.get(word & 31), word & 31 in self._asked
        elif base is not None:
            # Each byte: a test of bit 8 may load the second one alone.
            self._write(word & 31, range(base + offset, base + offset + (1 << (word >> 30))), index)

    def acquire(self, word: int, _place: int, _index: int) -> None:
        base = self._known.get(word >> 5 & 31)
        self._set(word & 31, asked=base in self._variables)

    def release(self, word: int, _place: int, index: int) -> None:
        base = self._known.get(word >> 5 & 31)
        if base is not None:
            self._write(word & 31, range(base, base + 1), index)

    def _write(self, register: int, bytes_of_variable: range, index: int) -> None:
        """Keep what a register holds. A plain value, such as 1 for "done", is an answer only behind a guard."""
        if made := self._made(index, register):
            self.written_plain.append((made, bytes_of_variable))
        else:
            self.written.update(bytes_of_variable)

    def identify(self, word: int, _place: int, _index: int) -> None:
        self._set(word & 31, asked=True)

    def call(self, word: int, place: int, index: int) -> None:
        given = [self._in_frame[register] for register in _ARGUMENTS if register in self._in_frame]
        self.passed.update(self._known[register] for register in _ARGUMENTS if register in self._known)
        for register in _CALL_CLOBBERED:
            self._set(register)
        self._flags, self._plain_flags = False, None
        if self._answers(place):
            self._asked.add(0)
        elif word >> 26 == 0x25:  # bl; a pointer may lead to a function that asks
            self._plain[0] = frozenset({index})
        if given and self._fills(place):
            self._answered_from = min(given)

    def branch_on_register(self, word: int, _place: int, index: int) -> None:
        if word & 31 in self._asked:
            self.guards.append(index)

    def branch_on_flags(self, _word: int, _place: int, index: int) -> None:
        if self._flags:
            self.guards.append(index)

    def compute(self, word: int, _place: int, index: int) -> None:
        """One or two sources: logic, sums, shifts and bit fields; some set the flags."""
        registers = word & 0x0E000000 == 0x0A000000
        rd, rn, rm = word & 31, word >> 5 & 31, word >> 16 & 31
        asked = rn in self._asked or (registers and rm in self._asked)
        is_copy = word & 0x7FE0FFE0 == 0x2A0003E0  # mov
        copied = self._known.get(rm) if is_copy and word >> 31 else None
        made = self._made(index, *((rm,) if is_copy else (rn, rm) if registers else (rn,)))
        if _sets_flags(word):
            self._flags, self._plain_flags = asked, made
        self._set(rd, copied, asked=asked)
        if made and rd != _XZR:
            self._plain[rd] = made

    def _made(self, index: int, *registers: int) -> frozenset[int] | None:
        """Return the words that may have made a value of plain registers; None if one of them is not plain."""
        sources = [self._plain.get(one) for one in registers if one != _XZR]
        if None in sources:
            return None
        made = frozenset({index}).union(*(one for one in sources if one))
        return made if len(made) <= _MADE_BY else None

    def move(self, word: int, _place: int, index: int) -> None:
        self._set(word & 31)
        self._plain[word & 31] = frozenset({index})

    def select(self, word: int, _place: int, index: int) -> None:
        rn, rm = word >> 5 & 31, word >> 16 & 31
        made = self._made(index, rn, rm) if self._plain_flags else None
        self._set(word & 31, asked=self._flags or rn in self._asked or rm in self._asked)
        if made and self._plain_flags and word & 31 != _XZR:
            self._plain[word & 31] = made | self._plain_flags

    def leave(self, _word: int, _place: int, _index: int) -> None:
        self.returns_answer |= 0 in self._asked
        if 0 in self._plain:
            self.returned_plain |= self._plain[0]
        else:
            self.returns_unknown = True


class _Step(NamedTuple):
    """How the scan takes the words with ``word & mask == value``."""

    mask: int
    value: int
    take: Callable[[_Scan, int, int, int], None]


_TABLE = (
    _Step(0x9F000000, 0x90000000, _Scan.page),  # adrp
    _Step(0x9F000000, 0x10000000, _Scan.near),  # adr
    _Step(0xFF800000, 0x91000000, _Scan.add),  # add (immediate), 64 bits
    _Step(0x3FC00000, 0x39000000, _Scan.store),  # str (unsigned offset)
    _Step(0x3F000000, 0x39000000, _Scan.load),  # ldr and its like
    _Step(0x3FFFFC00, 0x38BFC000, _Scan.acquire),  # ldapr
    _Step(0x3F000000, 0x38000000, _Scan.load_by_register),  # ldr (register), ldur, pre- and post-indexed
    _Step(0x3E400000, 0x28400000, _Scan.load_pair),  # ldp
    _Step(0x3E400000, 0x28000000, _Scan.store_pair),  # stp
    _Step(0x3FFFFC00, 0x08DFFC00, _Scan.acquire),  # ldar
    _Step(0x3FFFFC00, 0x089FFC00, _Scan.release),  # stlr
    _Step(0xFFFFF000, 0xD5380000, _Scan.identify),  # mrs of an identification register
    _Step(0xFC000000, 0x94000000, _Scan.call),  # bl
    _Step(0xFFFFFC1F, 0xD63F0000, _Scan.call),  # blr
    _Step(0x7E000000, 0x34000000, _Scan.branch_on_register),  # cbz, cbnz
    _Step(0x7E000000, 0x36000000, _Scan.branch_on_register),  # tbz, tbnz
    _Step(0xFF000010, 0x54000000, _Scan.branch_on_flags),  # b.cond
    _Step(0x1F000000, 0x0A000000, _Scan.compute),  # logic of registers
    _Step(0x1F000000, 0x0B000000, _Scan.compute),  # add and sub of registers
    _Step(0x1F000000, 0x11000000, _Scan.compute),  # add and sub (immediate)
    _Step(0x1F800000, 0x12800000, _Scan.move),  # movz, movn, movk
    _Step(0x1F800000, 0x12000000, _Scan.compute),  # logic (immediate)
    _Step(0x1F000000, 0x13000000, _Scan.compute),  # bit fields
    _Step(0x1FE00000, 0x1A800000, _Scan.select),  # csel and its like
    _Step(0xFFFFFC1F, 0xD65F0000, _Scan.leave),  # ret
)


@cache
def _steps() -> tuple[tuple[_Step, ...], ...]:
    """Return the steps that may take a word, by its highest byte."""
    return tuple(
        tuple(one for one in _TABLE if (high << 24) & one.mask & 0xFF000000 == one.value & 0xFF000000)
        for high in range(256)
    )


def _merged(one: dict[int, frozenset[int]], other: dict[int, frozenset[int]]) -> dict[int, frozenset[int]]:
    """Return what is plain on both of two ways."""
    return {register: one[register] | other[register] for register in one.keys() & other.keys()}


def _sets_flags(word: int) -> bool:
    """Whether a computation sets the flags: ands, bics, adds, subs, and tst, cmn, cmp."""
    if word & 0x1F000000 in {0x0A000000, 0x12000000}:
        return word & 0x60000000 == 0x60000000
    return word & 0x1F000000 in {0x0B000000, 0x11000000} and bool(word & 0x20000000)


def _behind(code: list[int], guards: Iterable[int]) -> list[int]:
    """Return the indexes of words that only one way out of one of the guards leads to.

    A way leads alone to the block where it ends, and to what that block dominates, if every other way into the
    block comes from what it dominates.
    """
    blocks, following = _blocks(code)
    order = _order(following)
    rank = {block: position for position, block in enumerate(order)}
    before: list[list[int]] = [[] for _ in order]
    for block in order:
        for one in following[block]:
            before[rank[one]].append(rank[block])
    below = _dominated(before)
    by_end = {last: position for position, (_, last) in enumerate(blocks)}
    guards = list(guards)
    found = _beyond_zero(code, guards, following, by_end, order)
    for guard in guards:
        block = by_end[guard + 1]
        if block not in rank:
            continue
        for way in set(following[block]):
            end = rank[way]
            own = _subtree(below, end)
            others = list(before[end])
            others.remove(rank[block])
            if all(one in own for one in others):
                found |= own
    return [index for position in found for index in range(*blocks[order[position]])]


def _beyond_zero(
    code: list[int],
    guards: list[int],
    following: list[tuple[int, ...]],
    by_end: dict[int, int],
    order: list[int],
) -> set[int]:
    """Return the blocks, by their rank, that nothing leads to where each guard finds a zero.

    Several guards may test one answer: the kept one, and the one of the call that asks first.
    """
    forced = list(following)
    for guard in guards:
        way = _way_of_zero(code[guard])
        block = by_end[guard + 1]
        if way is not None and len(following[block]) > way:
            forced[block] = (following[block][way],)
    reached = set(_order(forced))
    return {rank for rank, block in enumerate(order) if block not in reached}


def _way_of_zero(word: int) -> int | None:
    """Return which way of :func:`ways_of` a test of a register or a bit takes for zero; None for other branches."""
    if word & 0x7C000000 != 0x34000000:  # cbz and tbz, cbnz and tbnz
        return None
    return 1 if word & 0x01000000 else 0


def _blocks(code: list[int]) -> tuple[list[tuple[int, int]], list[tuple[int, ...]]]:
    """Return the basic blocks as ranges of indexes, and for each the blocks that can come next."""
    count = len(code)
    ways = {index: way for index, word in enumerate(code) if (way := ways_of(word, index)) is not None}
    leaders = {0, *(index + 1 for index in ways), *(aim for way in ways.values() for aim in way)}
    firsts = sorted(one for one in leaders if 0 <= one < count)
    number = {first: position for position, first in enumerate(firsts)}
    ranges = list(zip(firsts, [*firsts[1:], count], strict=True))
    following = []
    for _, last in ranges:
        way = ways.get(last - 1, (last,))
        following.append(tuple(number[aim] for aim in way if 0 <= aim < count))
    # A table of jumps leads to the blocks that nothing else leads to.
    led = {0, *(one for each in following for one in each)}
    aims = tuple(position for position in range(len(ranges)) if position not in led)
    for position, (_, last) in enumerate(ranges):
        if _jumps(code, last - 1):
            following[position] = aims
    return ranges, following


def _jumps(code: list[int], index: int) -> bool:
    """Whether a word is a jump through a register, to an address that the two words before do not make."""
    return code[index] & 0xFFFFFC1F == 0xD61F0000 and not is_far_jump(*code[max(index - 2, 0) : index + 1])


def is_far_jump(*words: int) -> bool:
    """Whether three words are ``adrp``, ``add`` and ``br`` of one register: a jump beyond the reach of ``b``.

    Linkers write them between far sections, and BOLT where a function began that it moved.
    """
    if len(words) < 3:
        return False
    register = words[2] >> 5 & 31
    return (
        words[2] & 0xFFFFFC1F == 0xD61F0000
        and words[1] & 0xFFC003FF == 0x91000000 | register << 5 | register
        and words[0] & 0x9F00001F == 0x90000000 | register
    )


def ways_of(word: int, index: int) -> tuple[int, ...] | None:
    """Return where a branch goes, as indexes; None for a word that is no branch. Calls return."""
    if word & 0xFC000000 == 0x14000000:  # b
        return (index + _signed(word & 0x3FFFFFF, 26),)
    if word & 0xFF000010 == 0x54000000 or word & 0x7E000000 == 0x34000000:  # b.cond, cbz, cbnz
        return (index + _signed(word >> 5 & 0x7FFFF, 19), index + 1)
    if word & 0x7E000000 == 0x36000000:  # tbz, tbnz
        return (index + _signed(word >> 5 & 0x3FFF, 14), index + 1)
    if word & 0xFFFFFC1F in {0xD65F0000, 0xD61F0000} or word & 0xFFE0001F == 0xD4200000 or word < 0x10000:
        return ()  # ret, br, brk, udf
    return None


def _order(following: list[tuple[int, ...]]) -> list[int]:
    """Return the blocks that the first one leads to, in reverse postorder."""
    seen, finished = {0}, []
    waiting = [(0, iter(following[0]))]
    while waiting:
        block, rest = waiting[-1]
        for one in rest:
            if one not in seen:
                seen.add(one)
                waiting.append((one, iter(following[one])))
                break
        else:
            finished.append(block)
            waiting.pop()
    return finished[::-1]


def _dominated(before: list[list[int]]) -> list[list[int]]:
    """Return the children of each block in the tree of dominators; blocks are in reverse postorder.

    The algorithm is that of Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm".
    """
    above = [0] + [-1] * (len(before) - 1)
    changed = True
    while changed:
        changed = False
        for block in range(1, len(before)):
            known = [one for one in before[block] if above[one] >= 0]
            new = known[0]
            for other in known[1:]:
                new = _meet(above, new, other)
            if above[block] != new:
                above[block], changed = new, True
    below: list[list[int]] = [[] for _ in before]
    for block in range(1, len(before)):
        below[above[block]].append(block)
    return below


def _meet(above: list[int], one: int, other: int) -> int:
    """Return the lowest block above both in the tree of dominators so far."""
    while one != other:
        if one > other:
            one = above[one]
        else:
            other = above[other]
    return one


def _subtree(below: list[list[int]], block: int) -> set[int]:
    found, waiting = set(), [block]
    while waiting:
        one = waiting.pop()
        found.add(one)
        waiting += below[one]
    return found


def _immediate21(word: int) -> int:
    """Return the signed immediate of adr and adrp."""
    return _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value
