"""When code of a wheel runs: at import, when something calls it, or only if a test of the CPU chose it.

The calls are those that can be read from the machine code: direct ones, those through the PLT, and those of Python
through tables of methods. A function that only a pointer leads to, in a library that asks the CPU, may be chosen at
run time. So the static answer for it is "only if", and a run decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from builder.audit.elf import Addresses, Elf, Symbols
from builder.audit.flow import Flow
from builder.audit.guards import Examined, examine, unreached
from builder.audit.text import Indexes, Numbers

_ASKING = ("getauxval", "__getauxval", "elf_aux_info", "__init_cpu_features_resolver", "__init_cpu_features")
_ASKING_TEXTS = (b"/proc/cpuinfo", b"/proc/self/auxv")
# A longer function is not examined: all its calls count.
_EXAMINED_WORDS = 20_000
_ACCESSOR_WORDS, _TELLING_WORDS = 64, 512
_LONGEST_CHAIN = 4  # of functions that hand on an answer
_PROBE_WORDS, _RET = 3, 0xD65F03C0  # bti c, the instruction, ret
_CATCHING = frozenset({"sigaction", "signal", "sigsetjmp", "__sigsetjmp", "_setjmp", "setjmp"})
# mov x0, #AT_HWCAP; ubfx of the bit of LSE; strb: init_have_lse_atomics of libgcc and compiler-rt.
_OUTLINE_WORDS = 24
_ASKS_FOR_LSE = ((0x7FFFFFFF, 0x52800200), (0x7FBFFC00, 0x53082000), (0xFFC00000, 0x39000000))
# A library most of whose functions need the extension was compiled for it, whatever it asks.
_COMPILED_FOR_IT = 0.5


class Rank(IntEnum):
    """When a place runs, the surest first."""

    IMPORT = 0
    CALLED = 1
    CHOSEN = 2
    UNREACHED = 3


@dataclass(frozen=True)
class Reached:
    """When an instruction runs. ``function`` holds it, and ``caller`` leads there; None for a pointer."""

    rank: Rank
    function: str | None
    caller: str | None


class Reach:
    """Ranks the functions of a wheel that hold instructions the target lacks.

    Args:
        elves: all loadable files of the wheel.
        illegal: for each member the addresses of those instructions.
    """

    def __init__(self, elves: Iterable[Elf], illegal: dict[str, Addresses]) -> None:
        self._illegal = illegal
        every = list(elves)
        self._members = [_Member(elf, illegal.get(elf.member)) for elf in every if elf.is_loadable]
        objects = [elf for elf in every if not elf.is_loadable]
        self._asking_archives = {_archive_name(elf.member) for elf in objects if _object_asks(elf)}
        first = 0
        for member in self._members:
            member.first = first
            first += len(member.flow.starts)
        self._count = first
        for member in self._members:
            member.answers_elsewhere = self._answers_elsewhere

    def rank(self, member: str, addresses: Addresses) -> list[Reached]:
        """Return when the instructions at ``addresses`` of one member run."""
        own = next((one for one in self._members if one.name == member), None)
        if own is None:  # an object of a static archive, which is only linked
            chosen = _archive_name(member) in self._asking_archives
            return [Reached(Rank.CHOSEN if chosen else Rank.CALLED, None, None)] * len(addresses)
        functions = own.flow.function_of(addresses).tolist()
        plain = {function: self._reached(own, function) for function in set(functions)}
        behind = {
            function: set(own.guarded(function).tolist())
            for function, reached in plain.items()
            if reached.rank is not Rank.CHOSEN and function >= 0
        }
        aside = {function: self._left(own, function) for function in behind}
        dead = {function: own.unreached(function) for function in behind}
        constants = set(addresses[np.isin(addresses, own.flow.constants)].tolist()) if behind else set()

        def one(function: int, address: int) -> Reached:
            if address in constants or address in dead.get(function, ()):
                return Reached(Rank.UNREACHED, own.label(function), None)
            return aside[function] if address in behind.get(function, ()) else plain[function]

        return [one(*pair) for pair in zip(functions, addresses.tolist(), strict=True)]

    def _reached(self, own: _Member, function: int) -> Reached:
        """Return when the instructions of a function run that stand behind no guard of its own."""
        if function < 0:
            return Reached(Rank.CALLED, None, None)
        if own.is_probe(function):
            return Reached(Rank.CHOSEN, own.label(function), None)
        node = own.first + function
        for rank, (reached, parents) in ((Rank.IMPORT, self._imported), (Rank.CALLED, self._called)):
            if node in reached:
                caller = self._name(parents.get(node)) or own.caller_of_root(function)
                return Reached(rank, own.label(function), caller)
        return self._left(own, function)

    def _left(self, own: _Member, function: int) -> Reached:
        """Return when instructions run that nothing leads to but a pointer, or a guard."""
        chosen = own.asks and not own.compiled_for_later
        return Reached(Rank.CHOSEN if chosen else Rank.CALLED, own.label(function), None)

    def _name(self, node: int | None) -> str | None:
        if node is None:
            return None
        member = next(one for one in reversed(self._members) if one.first <= node)
        return member.label(node - member.first)

    @cached_property
    def _imported(self) -> tuple[set[int], dict[int, int]]:
        return self._closure([self._nodes(one, one.import_roots) for one in self._members])

    @cached_property
    def _called(self) -> tuple[set[int], dict[int, int]]:
        linked = {name for one in self._members for name in one.flow.elf.needed}
        roots = [self._nodes(one, one.method_roots) for one in self._members]
        roots += [
            self._nodes(one, np.array(sorted(one.flow.loaded.exports.values()), dtype=np.uint64))
            for one in self._members
            if not one.is_module and one.name.rpartition("/")[2] not in linked
        ]
        return self._closure(roots)

    def _answers_elsewhere(self, name: str) -> bool:
        """Whether a function of this name, in a file of the wheel, says what the CPU has.

        FFmpeg has such a function for all its libraries.
        """
        node = self._exported.get(name)
        if node is None:
            return False
        other = next(one for one in reversed(self._members) if one.first <= node)
        return other.alone.answers(node - other.first)

    def _nodes(self, member: _Member, addresses: Addresses) -> Indexes:
        found = member.flow.function_of(addresses)
        return found[found >= 0] + member.first

    @cached_property
    def _exported(self) -> dict[str, int]:
        """The exported functions of all files and their numbers over the wheel; the first file of a name wins."""
        found: dict[str, int] = {}
        for member in self._members:
            names = list(member.flow.loaded.exports)
            nodes = member.flow.function_of(
                np.array(list(member.flow.loaded.exports.values()), dtype=np.uint64)
            )
            for name, node in zip(names, nodes.tolist(), strict=True):
                if node >= 0:  # otherwise the symbol is of no code
                    found.setdefault(name, member.first + node)
        return found

    @cached_property
    def _edges(self) -> tuple[Numbers, Numbers]:
        """All calls whose function is known, as numbers over the wheel, sorted by caller."""
        most = sum(len(member.flow.calls.sources) for member in self._members)
        # Filled in place: a large wheel has five million.
        sources, targets, count = np.empty(most, np.int32), np.empty(most, np.int32), 0
        for member in self._members:
            aims = self._aims(member, slice(None))
            known = aims >= 0
            end = count + int(known.sum())
            # Places grow, and so do the functions that they lie in.
            np.add(member.flow.calls.sources[known], np.int32(member.first), out=sources[count:end])
            targets[count:end] = aims[known]
            count = end
        return sources[:count], targets[:count]

    def _aims(self, member: _Member, chosen: slice) -> Numbers:
        """Return for some calls of a file where they go, as numbers over the wheel; -1 if that is not known."""
        calls = member.flow.calls
        targets, imports = calls.targets[chosen], calls.imports[chosen]
        aims = np.where(targets >= 0, targets + np.int32(member.first), np.int32(-1))
        for index in np.flatnonzero((targets < 0) & (imports >= 0)).tolist():
            aims[index] = self._exported.get(member.flow.loaded.names[int(imports[index])], -1)
        return aims

    def _closure(self, roots: Sequence[Indexes]) -> tuple[set[int], dict[int, int]]:
        """Return the functions that ``roots`` lead to past no guard, and the caller of each.

        Only functions on a way to an instruction that the target lacks are examined.
        """
        sources, targets = self._edges
        start = np.unique(np.concatenate(roots)) if roots else np.zeros(0, dtype=np.intp)
        relevant = _spread(start, sources, targets, self._count) & self._leading
        reached = {int(node) for node in start if relevant[node]}
        parents: dict[int, int] = {}
        waiting = sorted(reached)
        while waiting:
            node = waiting.pop(0)
            member = next(one for one in reversed(self._members) if one.first <= node)
            function = node - member.first
            calls = slice(*np.searchsorted(member.flow.calls.sources, [function, function + 1]).tolist())
            guarded = set(member.guarded(function).tolist())
            places = member.flow.calls.places[calls].tolist()
            for target, place in zip(self._aims(member, calls).tolist(), places, strict=True):
                if target >= 0 and relevant[target] and target not in reached and place not in guarded:
                    reached.add(target)
                    parents[target] = node
                    waiting.append(target)
        return reached, parents

    @cached_property
    def _leading(self) -> NDArray[np.bool_]:
        """Which functions lead to an instruction that the target lacks."""
        sources, targets = self._edges
        own = [
            self._nodes(member, self._illegal[member.name])
            for member in self._members
            if member.name in self._illegal
        ]
        start = np.unique(np.concatenate(own)) if own else np.zeros(0, dtype=np.intp)
        order = np.argsort(targets, kind="stable")
        return _spread(start, targets[order], sources[order], self._count)


class _Member:
    """One loadable file, its examined functions, and what it knows of the CPU."""

    def __init__(self, elf: Elf, illegal: Addresses | None) -> None:
        self.name = elf.member
        self._illegal = illegal
        self.flow = Flow(elf)
        self.first = 0
        self.answers_elsewhere: Callable[[str], bool] = lambda _name: False
        self._guarded: dict[int, Addresses] = {}
        self._answering: dict[int, bool] = {}

    @cached_property
    def alone(self) -> _Member:
        """The same file, without what others of the wheel answer for the CPU."""
        other = _Member(self.flow.elf, self._illegal)
        other.flow = self.flow
        return other

    @cached_property
    def is_module(self) -> bool:
        return any(name.startswith(("PyInit_", "PyModExport_")) for name in self.flow.loaded.exports)

    @cached_property
    def import_roots(self) -> Addresses:
        return np.concatenate(
            [self.flow.loaded.constructors, self.flow.loaded.resolvers, self.flow.python.module_functions]
        )

    @cached_property
    def method_roots(self) -> Addresses:
        """Methods and destructors; in a program, all that its entry hands on, such as ``main``."""
        called = np.concatenate([self.flow.python.methods, self.flow.loaded.destructors])
        if not self.flow.loaded.is_program:
            return called
        taken = [
            address
            for function in self.flow.function_of(self.flow.loaded.constructors).tolist()
            for address in self._examine(function).taken
        ]
        found = np.array(sorted(taken), dtype=np.uint64)
        return np.concatenate([called, found[self.flow.loaded.is_code(found)]])

    def caller_of_root(self, function: int) -> str:
        """Return who calls a function that no code of the wheel calls."""
        address = self.flow.starts[function]
        by_loader = {
            "a constructor": self.flow.loaded.constructors,
            "a resolver of an IFUNC": self.flow.loaded.resolvers,
            "a destructor": self.flow.loaded.destructors,
        }
        kind = next((kind for kind, found in by_loader.items() if address in found), None)
        if kind:
            return f"the loader, as {kind}"
        by_python = address in self.flow.python.module_functions or address in self.flow.python.methods
        return "Python" if by_python else "users of the library"

    @cached_property
    def asks(self) -> bool:
        """Whether anything in the file asks what the CPU has."""
        return bool(self._asking) or any(text in self.flow.elf.image for text in _ASKING_TEXTS)

    @cached_property
    def compiled_for_later(self) -> bool:
        """Whether most functions hold instructions that the target lacks."""
        if self._illegal is None:
            return False
        return len(np.unique(self.flow.function_of(self._illegal))) > _COMPILED_FOR_IT * len(self.flow.starts)

    def label(self, function: int) -> str:
        """Return the symbol of a function, or its address."""
        index = int(self._labels[function])
        return self._functions.name(index) if index >= 0 else f"0x{int(self.flow.starts[function]):x}"

    @cached_property
    def _functions(self) -> Symbols:
        return self.flow.elf.symbols

    @cached_property
    def _labels(self) -> Indexes:
        return self._functions.at(self.flow.starts)

    def guarded(self, function: int) -> Addresses:
        """Return the addresses of a function that stand behind a guard; they are kept in little memory."""
        if function not in self._guarded:
            examined = self._examine(function, self._variables, self._answers, self._fills)
            self._guarded[function] = np.array(sorted(examined.guarded), dtype=np.uint64)
        return self._guarded[function]

    def unreached(self, function: int) -> frozenset[int]:
        """Return the addresses of a function that no branch leads to."""
        start = int(self.flow.starts[function])
        words = self.flow.text.slice(start, self.flow.end_of(function))
        return unreached(start, words) if len(words) <= _EXAMINED_WORDS else frozenset()

    def is_probe(self, function: int) -> bool:
        """Whether a function is one instruction and a return, and only functions that catch signals call it.

        OpenSSL tries so what the CPU has (``crypto/armcap.c``).
        """
        start = int(self.flow.starts[function])
        words = self.flow.text.slice(start, start + 4 * _PROBE_WORDS).tolist()
        if _RET not in words or not self._catching:
            return False
        calls = self.flow.calls
        return self._catching.issuperset(calls.sources[calls.targets == function].tolist())

    @cached_property
    def _catching(self) -> frozenset[int]:
        """The functions that catch signals, or come back to where they were when one arrived."""
        calls = self.flow.calls
        imports = [index for index, name in enumerate(self.flow.loaded.names) if name in _CATCHING]
        defined = self.flow.function_of(self._functions.named(_CATCHING))
        found = calls.sources[np.isin(calls.imports, imports) | np.isin(calls.targets, defined[defined >= 0])]
        return frozenset(found.tolist())

    def _examine(
        self,
        function: int,
        variables: frozenset[int] = frozenset(),
        answers: Callable[[int], bool] = lambda _place: False,
        fills: Callable[[int], bool] = lambda _place: False,
    ) -> Examined:
        start, end = int(self.flow.starts[function]), self.flow.end_of(function)
        words = self.flow.text.slice(start, end)
        return examine(
            start,
            words[:_EXAMINED_WORDS],
            variables=variables,
            answers=answers,
            fills=fills,
            pointer_at=self.flow.loaded.pointer_at,
            resolves=start in self._resolvers,
        )

    @cached_property
    def _asking(self) -> frozenset[int]:
        """The functions that ask the CPU, and those that return what they say."""
        return self._first_asking | self._telling

    @cached_property
    def _telling(self) -> frozenset[int]:
        """The functions that ask none but others of the file, and return the answer."""
        found: frozenset[int] = frozenset()
        new = self._first_asking
        calls = self.flow.calls
        for _ in range(_LONGEST_CHAIN):
            callers = set(calls.sources[np.isin(calls.targets, sorted(new))].tolist())
            callers -= self._first_asking | found

            def tells(place: int, found: frozenset[int] = found) -> bool:
                target = self._call_at(place)[1]
                return target in found or (target in self._first_asking and self._first_returns_it(target))

            new = frozenset(
                one
                for one in callers
                if one >= 0
                and self._words_of(one) <= _TELLING_WORDS
                and self._examine(one, answers=tells).returns_answer
            )
            found |= new
        return found

    @cached_property
    def _first_asking(self) -> frozenset[int]:
        """The functions that ask the kernel, the C library or an identification register."""
        text = self.flow.text
        reads = text.addresses(text.matching(0xFFFFF000, 0xD5380000))
        calls = self.flow.calls
        called = calls.sources[np.isin(calls.imports, sorted(self._asking_imports))]
        callers = calls.sources[np.isin(calls.targets, sorted(self._defined_asking))]
        resolvers = self.flow.function_of(self.flow.loaded.resolvers)
        found = np.unique(np.concatenate([self.flow.function_of(reads), called, callers, resolvers]))
        return frozenset(
            one for one in found.tolist() if one >= 0 and not self._asks_for_outline_atomics(one)
        )

    @cached_property
    def _defined_asking(self) -> frozenset[int]:
        """The functions of the C library that answer for the CPU, in a file that has them: a static program."""
        found = self.flow.function_of(self._functions.named(_ASKING))
        return frozenset(found[found >= 0].tolist())

    def _asks_for_outline_atomics(self, function: int) -> bool:
        """Whether a function is the constructor that compilers link in for outline atomics.

        It asks for LSE, keeps that bit for the functions ``__aarch64_*`` alone, and chooses nothing else.
        """
        start = int(self.flow.starts[function])
        if start not in self.flow.loaded.constructors:
            return False
        words = self.flow.text.slice(start, min(self.flow.end_of(function), start + 4 * _OUTLINE_WORDS))
        return all(bool(np.any(words & np.uint32(mask) == np.uint32(value))) for mask, value in _ASKS_FOR_LSE)

    @cached_property
    def _resolvers(self) -> frozenset[int]:
        return frozenset(self.flow.loaded.resolvers.tolist())

    @cached_property
    def _asking_imports(self) -> frozenset[int]:
        """The dynamic symbols of functions that answer for the CPU."""
        return frozenset(
            index
            for index, name in enumerate(self.flow.loaded.names)
            if name in _ASKING or name.startswith("cpuinfo_") or self.answers_elsewhere(name)
        )

    @cached_property
    def _variables(self) -> frozenset[int]:
        """Where the functions that ask, and those that call them, keep the answers."""
        calls = self.flow.calls
        near = self._asking | set(calls.sources[np.isin(calls.targets, sorted(self._asking))].tolist())
        found: set[int] = set()
        for function in near:
            own = self._examine(function, answers=self._answers_first)
            # A caller hands out where the answer goes, or keeps it; it has other variables, too.
            taken = own.taken if function in self._asking else own.passed
            found |= own.written | {one for one in taken if self._is_variable(one)}
        return frozenset(found)

    def _answers(self, place: int) -> bool:
        """Whether the result of the call at ``place`` is an answer of the CPU."""
        imported, target = self._call_at(place)
        if imported in self._asking_imports:
            return True
        return self.answers(target)

    def answers(self, function: int) -> bool:
        """Whether a function returns an answer of the CPU."""
        if function not in self._answering:
            self._answering[function] = function >= 0 and (
                function in self._defined_asking or self._returns_it(function) or self._is_accessor(function)
            )
        return self._answering[function]

    def _answers_first(self, place: int) -> bool:
        """Whether the result of the call at ``place`` is an answer of the CPU that no variable kept before."""
        imported, target = self._call_at(place)
        return imported in self._asking_imports or target in self._defined_asking or self._returns_it(target)

    def _fills(self, place: int) -> bool:
        """Whether the call at ``place`` is one of a function that asks."""
        return self._call_at(place)[1] in self._asking

    def _call_at(self, place: int) -> tuple[int, int]:
        """Return the imported symbol and the function that the call at ``place`` leads to; -1 for none."""
        calls = self.flow.calls
        index = int(np.searchsorted(calls.places, np.uint64(place)))
        if index >= len(calls.places) or int(calls.places[index]) != place:
            return -1, -1
        return int(calls.imports[index]), int(calls.targets[index])

    def _returns_it(self, function: int) -> bool:
        """Whether a function that asks may return the answer, and not whether it succeeded."""
        if function in self._first_asking:
            return self._first_returns_it(function)
        return function in self._telling

    def _first_returns_it(self, function: int) -> bool:
        return self._examine(function, answers=self._is_first).may_answer

    def _is_first(self, place: int) -> bool:
        imported, target = self._call_at(place)
        return imported in self._asking_imports or target in self._defined_asking

    def _is_accessor(self, function: int) -> bool:
        """Whether a short function returns a variable that holds an answer."""
        if self._words_of(function) > _ACCESSOR_WORDS:
            return False
        return self._examine(function, self._variables).returns_answer

    def _words_of(self, function: int) -> int:
        return (self.flow.end_of(function) - int(self.flow.starts[function])) // 4

    def _is_variable(self, address: int) -> bool:
        return any(start <= address < end for start, end in self.flow.loaded.writable)


def _object_asks(elf: Elf) -> bool:
    """Whether an object of a static archive asks what the CPU has."""
    return elf.names_any(_ASKING) or any(text in elf.image for text in _ASKING_TEXTS)


def _archive_name(member: str) -> str:
    """Return the archive of a member such as ``libm.a(m.o)``."""
    return member.partition("(")[0]


def _spread(start: Indexes, sources: Numbers, targets: Numbers, count: int) -> NDArray[np.bool_]:
    """Return which functions edges lead to from ``start``; ``sources`` is sorted."""
    seen = np.zeros(count, dtype=np.bool_)
    seen[start] = True
    front = start
    while len(front):
        first, last = np.searchsorted(sources, front), np.searchsorted(sources, front, side="right")
        lengths = last - first
        index = np.repeat(first - np.append(0, np.cumsum(lengths)[:-1]), lengths) + np.arange(lengths.sum())
        following = np.unique(targets[index])
        front = following[~seen[following]]
        seen[front] = True
    return seen
