"""When something goes wrong in a model test of the index, and what it goes wrong with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.helpers.steps import StepStore, at, at_write


@dataclass(frozen=True)
class Moment:
    """Before or after one store call of an operation: the one of a number, or the first write below a prefix."""

    call: int | str
    after: bool

    def arm(self, store: StepStore, action: Callable[[], object]) -> None:
        hook = at(self.call, action) if isinstance(self.call, int) else at_write(store, self.call, action)
        setattr(store, "after" if self.after else "before", hook)


@dataclass(frozen=True)
class Trouble:
    """The caller dies at a moment, or else a collector runs just then."""

    moment: Moment
    dies: bool


@dataclass(frozen=True)
class Pick:
    """One of what there is; if it so wishes, of what a collector would take and has not."""

    number: int
    doomed: bool

    def of(self, things: Iterable[str], doomed: Iterable[str]) -> str | None:
        pool = (sorted(doomed) if self.doomed else []) or sorted(things)
        return pool[self.number % len(pool)] if pool else None


picks = st.builds(Pick, st.integers(0, 20), st.booleans())


def moments(*writes: str) -> st.SearchStrategy[Moment]:
    """Mostly around the writes that matter, now and then around any call."""
    call = st.sampled_from(writes)
    return st.builds(Moment, st.one_of(call, call, call, st.integers(0, 40)), st.booleans())


def troubles(*writes: str) -> st.SearchStrategy[Trouble | None]:
    return st.none() | st.builds(Trouble, moments(*writes), st.booleans())


at_the_collector = moments("journal/_collected/", "files/")
seldom = st.sampled_from([False, False, False, True])
