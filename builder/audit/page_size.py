"""Checks the page size for which an allocator in the wheel was compiled.

jemalloc has the largest page size it works with compiled in. On a kernel with larger pages, as Linux on Arm may
have, it stops the process at the first allocation: "<jemalloc>: Unsupported system page size".
"""

from __future__ import annotations

from collections.abc import Iterable

from builder.audit.checks import LARGEST_PAGE_BYTES
from builder.audit.elf import Elf
from builder.audit.flow import Flow
from builder.audit.guards import ways_of
from builder.audit.verdicts import Verdict, failed, not_applicable, passed

_MESSAGE = b"<jemalloc>: Unsupported system page size"
_PAGES = tuple(4096 << power for power in range(5))
_NEAR_WORDS, _COMPARE_WORDS = 512, 4


def check_page_size(elves: Iterable[Elf]) -> Verdict:
    """Check that every jemalloc of the wheel works with pages of 64 KiB.

    The size is read from the comparison with that of the system before the message (jemalloc, ``src/pages.c``).
    """
    check = "page-size"
    limits = {
        one.member: _limit(one)
        for one in elves
        if one.is_loadable and one.has_sections and _MESSAGE in one.image
    }
    if not limits:
        return not_applicable(check, "no allocator whose page size is compiled in was recognised")
    data = {"jemalloc": limits}
    small = [
        f"{member}: jemalloc works with pages of {limit // 1024} KiB at most, and Linux on Arm may have 64 KiB"
        for member, limit in limits.items()
        if limit is not None and limit < LARGEST_PAGE_BYTES
    ]
    if small:
        return failed(check, "\n".join(small), **data)
    unknown = [member for member, limit in limits.items() if limit is None]
    if unknown:
        return not_applicable(check, f"not judged: the page size of jemalloc in {', '.join(unknown)}", **data)
    return passed(check, f"jemalloc works with pages of 64 KiB in {', '.join(limits)}", **data)


def _limit(elf: Elf) -> int | None:
    """Return the largest page size in bytes that a file's jemalloc takes; None if it cannot be read."""
    flow = Flow(elf)
    text = flow.text
    for first, last in flow.address_uses(elf.image.index(_MESSAGE)):
        start = max(0, first - _NEAR_WORDS)
        words = text.words[start : last + _NEAR_WORDS].tolist()
        for index, word in enumerate(words):
            if word & 0xFF000010 != 0x54000000:  # b.cond
                continue
            aim, _ = ways_of(word, start + index) or (0, 0)
            # The message lies where the branch goes, or behind it.
            if first - 1 <= aim <= last or start + index < first <= start + index + 3:
                for before in reversed(words[max(0, index - _COMPARE_WORDS) : index]):
                    if (limit := _compared(before)) is not None:
                        return limit
    return None


def _compared(word: int) -> int | None:
    """Return the page size with which ``cmp xN, #imm`` compares; the compiler may take one more or one less."""
    if word & 0xFF80001F != 0xF100001F:
        return None
    bound = (word >> 10 & 0xFFF) << (12 if word & 0x400000 else 0)
    return next((one for one in (bound, bound - 1, bound + 1) if one in _PAGES), None)
