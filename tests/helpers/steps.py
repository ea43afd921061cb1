"""A store that counts every call, reads too, and lets a test do something at any one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO

from index_server.store.interface import ObjectStore, Staged, one_by_one
from tests.helpers.stores import KilledError


class StepStore:
    """Passes every call on; ``before`` and ``after`` get its number, and may read its verb and key."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.look_every = 0.0
        self.gains_together = False
        self.calls = 0
        self.verb = self.key = ""
        self.before: Callable[[int], object] = lambda _: None
        self.after: Callable[[int], object] = lambda _: None

    def _step(self, verb: str, key: str, function: Callable[[], object]) -> object:
        number, self.calls = self.calls, self.calls + 1
        self.verb, self.key = verb, key
        self.before(number)
        result = function()
        self.verb, self.key = verb, key
        self.after(number)
        return result

    def create(self, key: str, data: bytes) -> bool:
        return bool(self._step("create", key, lambda: self.inner.create(key, data)))

    def create_from(self, key: str, path: Path) -> bool:
        return bool(self._step("create_from", key, lambda: self.inner.create_from(key, path)))

    def put_hint(self, key: str, data: bytes) -> None:
        self._step("put_hint", key, lambda: self.inner.put_hint(key, data))

    def remove(self, key: str) -> None:
        self._step("remove", key, lambda: self.inner.remove(key))

    def stage(self, objects: Mapping[str, bytes | Path]) -> AbstractContextManager[Staged]:
        return one_by_one(self, objects)

    def get(self, key: str) -> bytes:
        result = self._step("get", key, lambda: self.inner.get(key))
        assert isinstance(result, bytes)
        return result

    def size(self, key: str) -> int | None:
        result = self._step("size", key, lambda: self.inner.size(key))
        assert result is None or isinstance(result, int)
        return result

    def written_at(self, key: str) -> datetime | None:
        result = self._step("written_at", key, lambda: self.inner.written_at(key))
        assert result is None or isinstance(result, datetime)
        return result

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        self._step("read", key, lambda: None)
        return self.inner.read(key, start, stop)

    def open(self, key: str) -> BinaryIO | None:
        self._step("open", key, lambda: None)
        return self.inner.open(key)

    def keys(self, prefix: str) -> Iterator[str]:
        self._step("keys", prefix, lambda: None)
        return iter(list(self.inner.keys(prefix)))

    def scratch(self) -> AbstractContextManager[Path]:
        return self.inner.scratch()


def at(number: int, action: Callable[[], object]) -> Callable[[int], None]:
    """A hook that acts at one call."""

    def hook(step: int) -> None:
        if step == number:
            action()

    return hook


def at_write(store: StepStore, prefix: str, action: Callable[[], object]) -> Callable[[int], None]:
    """A hook that acts once, at the first write below ``prefix``."""
    done = False

    def hook(_: int) -> None:
        nonlocal done
        if not done and store.key.startswith(prefix) and store.verb in ("create", "create_from", "remove"):
            done = True
            action()

    return hook


def die() -> None:
    """The process ends here."""
    raise KilledError


class Paused:
    """Something that runs in a thread up to a call of its store, and and on when the test lets it go."""

    def __init__(self, store: StepStore, number: int, work: Callable[[], object]) -> None:
        self._reached, self._go = Event(), Event()
        self._outcome: object = None
        self._error: BaseException | None = None
        store.before = at(number, self._pause)
        self._thread = Thread(target=self._run, args=(work,))

    def start(self) -> None:
        """Run to the call, or to the end if there is no such call."""
        self._thread.start()
        assert self._reached.wait(20)

    def finish(self) -> object:
        """Run to the end; give what the work gave."""
        self._go.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._outcome

    def _pause(self) -> None:
        self._reached.set()
        assert self._go.wait(20)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self._outcome = work()
        except BaseException as error:
            self._error = error
        finally:
            self._reached.set()
