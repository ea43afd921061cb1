"""How often a journal over a network is looked at, and by whom."""

from __future__ import annotations

import asyncio
import threading

import pytest

from index_server.errors import StoreAwayError
from index_server.pages import follow
from index_server.pages.follow import Follower


class Book:
    """A journal that counts the looks at it."""

    name = "nightly"

    def __init__(self) -> None:
        self.written = 1
        self.known_serial = 0
        self.looks: list[int] = []
        self.fails = False

    @property
    def serial(self) -> int:
        self.looks.append(threading.get_ident())
        if self.fails:
            raise OSError("away")
        self.known_serial = self.written
        return self.written


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(follow.time, "monotonic", lambda: now[0])
    return now


def test_a_folder_is_looked_at_each_time() -> None:
    book, follower = Book(), Follower(0.0)
    assert [asyncio.run(follower.serial(book)) for _ in range(3)] == [1, 1, 1]
    assert book.looks == [threading.get_ident()] * 3


def test_a_store_over_a_network_is_looked_at_once_a_second_and_never_on_the_loop(clock: list[float]) -> None:
    book, follower = Book(), Follower(1.0)

    async def many() -> list[int]:
        return await asyncio.gather(*(follower.serial(book) for _ in range(50)))

    assert set(asyncio.run(many())) == {1}
    assert len(book.looks) == 1
    assert threading.get_ident() not in book.looks
    book.written = 2  # by another server
    clock[0] += 0.9
    assert set(asyncio.run(many())) == {1}
    clock[0] += 0.2
    assert set(asyncio.run(many())) == {2}
    assert len(book.looks) == 2


def test_what_this_process_wrote_is_known_at_once(clock: list[float]) -> None:
    book, follower = Book(), Follower(1.0)
    asyncio.run(follower.serial(book))
    book.known_serial = book.written = 2
    assert asyncio.run(follower.serial(book)) == 2
    assert len(book.looks) == 1


def test_a_look_that_fails_fails_for_all_who_waited_and_is_made_again(clock: list[float]) -> None:
    book, follower = Book(), Follower(1.0)
    book.fails = True

    async def many() -> list[int | BaseException]:
        return await asyncio.gather(*(follower.serial(book) for _ in range(5)), return_exceptions=True)

    assert {type(each) for each in asyncio.run(many())} == {OSError}
    assert len(book.looks) == 1
    book.fails = False
    assert asyncio.run(follower.serial(book)) == 1


def test_while_the_store_is_away_nobody_waits_long_for_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AWAY_WAIT", 0.01)
    book, answers = Book(), threading.Event()
    follower = Follower(0.001)

    class Silent(Book):
        @property
        def serial(self) -> int:
            self.looks.append(0)
            if len(self.looks) > 1:
                answers.wait(20)
            if self.fails:
                raise StoreAwayError("away")
            return book.written

    silent = Silent()
    silent.fails = True
    silent.known_serial = 1

    async def away_and_back() -> int:
        for _ in range(5):  # the first waits for its look; of the others one looks, and none waits for it
            with pytest.raises(StoreAwayError):
                await follower.serial(silent)
        assert len(silent.looks) == 2
        assert follower.age(silent) == float("inf")
        silent.fails = False
        answers.set()
        await asyncio.sleep(0.1)
        return await follower.serial(silent)

    assert asyncio.run(away_and_back()) == 1
    assert follower.age(silent) < 20
