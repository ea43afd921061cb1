"""The places of a wheel whose instructions the target lacks, by when they run, and the verdict about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from builder.audit.elf import Elf
from builder.audit.instructions import Finding, Survey
from builder.audit.libraries import Embedded
from builder.audit.reach import Rank, Reach
from builder.audit.verdicts import Verdict, counted, failed, passed
from builder.targets import Target

_SHOWN = 3
_SYMBOL_SHOWN = 60
_WHEN = {
    Rank.IMPORT: "runs at import",
    Rank.CALLED: "runs when it is called",
    Rank.CHOSEN: "only if a test of the CPU chose it",
    Rank.UNREACHED: "is behind no branch of its function, as constants are",
}


@dataclass(frozen=True)
class Place:
    """The instructions of one extension in one function: when they run, and from where.

    ``address`` is that of the first one. ``library`` is a known one of the file, which tests for this extension.
    """

    rank: Rank
    member: str
    function: str | None
    address: int
    extension: str
    count: int
    caller: str | None
    library: str | None = None

    def __str__(self) -> str:
        where = _short(self.function or f"0x{self.address:x}")
        from_where = f", called from {_short(self.caller)}" if self.caller else ""
        when = _WHEN[self.rank]
        of_library = f" of {self.library}" if self.library else ""
        return (
            f"{self.member}: {where}{of_library} ({self.extension} {self.count:,} times) {when}{from_where}"
        )


def places(found: Survey, elves: Iterable[Elf]) -> tuple[Place, ...]:
    """Return all places whose instructions the target lacks and no rule permits: the surest to run first.

    Raises:
        MalformedElfError: the tables of a file contradict each other.
    """
    bad = [one for one in found.findings if not one.legal and one.rule is None]
    if not bad:
        return ()
    members = {one.member for one in bad}
    illegal = {
        member: np.unique(np.concatenate([one.addresses for one in bad if one.member == member]))
        for member in members
    }
    reach = Reach(elves, illegal)
    every = [place for one in bad for place in _places(one, reach, found.libraries[one.member])]
    return tuple(sorted(every, key=lambda one: (one.rank, -one.count, one.member, one.address)))


def _places(finding: Finding, reach: Reach, libraries: tuple[Embedded, ...]) -> list[Place]:
    # A name that no rule matched is of no known library. Without a name, the file must have only one such library.
    fitting = [one for one in libraries if finding.extension in one.library.extensions]
    library = str(fitting[0]) if finding.symbol is None and len(fitting) == 1 else None
    counts: Counter[tuple[Rank, str | None, str | None]] = Counter()
    first: dict[tuple[Rank, str | None, str | None], int] = {}
    ranked = reach.rank(finding.member, finding.addresses)
    for reached, address in zip(ranked, finding.addresses.tolist(), strict=True):
        key = (reached.rank, finding.symbol or reached.function, reached.caller)
        counts[key] += 1
        first.setdefault(key, address)
    return [
        Place(
            rank,
            finding.member,
            function,
            first[rank, function, caller],
            finding.extension,
            count,
            caller,
            library if rank is Rank.CHOSEN else None,
        )
        for (rank, function, caller), count in counts.items()
    ]


def check_instructions(found: Survey, every: tuple[Place, ...], target: Target, *, strict: bool) -> Verdict:
    """Check that the target has every instruction, except in code that tests the CPU at run time.

    With ``strict``, as for wheels of our own, only a rule or a known library makes an exception. Otherwise a place
    that is reached only by a choice at run time, or not at all, passes.
    """
    check = "instructions"
    allowed: Counter[str] = Counter()
    for one in found.findings:
        if not one.legal and one.rule is not None:
            allowed[one.rule] += one.count
    judged = [(one, one.rank < Rank.CHOSEN or (strict and one.library is None)) for one in every]
    bad = [one for one, fails in judged if fails]
    chosen = [one for one, fails in judged if not fails]
    data = {
        "instructions": found.instructions,
        "data_words": found.data_words,
        "allowed": dict(allowed.most_common()),
        "libraries": {member: [str(one) for one in each] for member, each in found.libraries.items() if each},
        "places": [
            {
                **asdict(one),
                "rank": one.rank.name.lower(),
                "address": f"0x{one.address:x}",
                "fails": fails,
            }
            for one, fails in judged
        ],
    }
    aside = "".join(f"; {count:,} set aside: {why}" for why, count in allowed.most_common())
    if chosen:
        kinds = ", ".join(f"{name} {count:,}" for name, count in _kinds(chosen).most_common())
        aside += (
            f"; {kinds} in {counted(len(chosen), 'place')} that only a choice at run time reaches, or nothing"
        )
    if names := sorted({str(one) for each in found.libraries.values() for one in each}):
        aside += f"; has {', '.join(names)}"
    aside += f"; {found.data_words:,} words of data" if found.data_words else ""
    if not bad:
        return passed(check, f"all {found.instructions:,} run on {target}{aside}", **data)
    kinds_of_bad = _kinds(bad)
    named = ", ".join(f"{name} {count:,}" for name, count in kinds_of_bad.most_common())
    where = "".join(f"\n{one}" for one in bad[:_SHOWN])
    more = f"\nand {len(bad) - _SHOWN:,} more places" if len(bad) > _SHOWN else ""
    return failed(
        check,
        f"{sum(kinds_of_bad.values()):,} of {found.instructions:,} do not run on {target}: "
        f"{named}{aside}{where}{more}",
        **data,
        violations=dict(kinds_of_bad.most_common()),
    )


def _kinds(every: Iterable[Place]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for one in every:
        kinds[one.extension] += one.count
    return kinds


def _short(symbol: str) -> str:
    return symbol if len(symbol) <= _SYMBOL_SHOWN else f"{symbol[: _SYMBOL_SHOWN - 1]}…"
