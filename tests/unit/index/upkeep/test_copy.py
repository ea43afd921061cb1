"""Backups: whole, resumable, right while servers write, and never mixed with another store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index_server.errors import ConflictError, StoreError
from index_server.model import StoreMark
from index_server.settings import Settings
from index_server.store.address import open_store, open_unmarked
from index_server.store.guard import Versioned
from index_server.store.interface import MARK, ObjectStore
from index_server.store.objects import keys
from index_server.upkeep.copy import copy_store, refuse_same
from tests.helpers.wheels import make_wheel
from tests.unit.index.api.test_app import PURE, Client

OTHER = "other_thing-2.0-py3-none-any.whl"


@pytest.fixture
def copy(tmp_path: Path) -> Versioned:
    return open_unmarked(f"file:{tmp_path / 'copy'}")


def filled(store: ObjectStore, settings: Settings) -> Client:
    store.create(MARK, StoreMark(id="a1" * 16, at="2026-11-23T00:00:00Z").encode())
    client = Client(store, settings)
    client.publish((PURE, make_wheel(PURE)))
    store.create("cache/ab/abcdefabcdefabcdefabcdef", b"an object of the compile cache")
    return client


def content(store: ObjectStore) -> dict[str, bytes]:
    return {key: store.get(key) for key in keys(store, "") if not key.startswith("cache/")}


def test_a_copy_is_served_as_the_store_was(
    store: ObjectStore, settings: Settings, copy: Versioned, tmp_path: Path
) -> None:
    client = filled(store, settings)
    result = copy_store(store, copy)
    assert (result.whole, result.there) == (True, 0)
    assert content(copy) == content(store)
    assert not list(copy.keys("cache/"))
    served = Client(open_store(f"file:{tmp_path / 'copy'}"), settings)
    page = "/nightly/generic/simple/pure-thing/"
    assert served.get(page).content == client.get(page).content


def test_a_second_copy_takes_what_is_new(store: ObjectStore, settings: Settings, copy: Versioned) -> None:
    client = filled(store, settings)
    first = copy_store(store, copy)
    again = copy_store(store, copy)
    assert (again.objects, again.bytes) == (0, 0)
    # The mark of the store and the hints are not counted.
    assert again.there == first.objects
    client.publish((OTHER, make_wheel(OTHER)))
    third = copy_store(store, copy)
    assert third.there == first.objects
    assert third.objects > 0
    assert content(copy) == content(store)


class Killed(Exception):  # noqa: N818 - stands for SIGKILL
    pass


def test_a_copy_that_was_killed_anywhere_has_all_that_its_journal_names_and_continues(
    store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    filled(store, settings)
    steps = len(list(keys(store, "")))
    for most in range(1, steps, max(1, steps // 5)):
        folder = tmp_path / str(most)
        target = open_unmarked(f"file:{folder}")

        def stop(number: int, _: int, most: int = most) -> None:
            if number >= most:
                raise Killed

        try:
            copy_store(store, target, stop)
        except Killed:
            assert target.size(MARK) is None
            named = {key.split("/")[2] for key in keys(target, "journal/nightly/")}
            if named:
                assert set(keys(store, "snapshots/")) <= set(keys(target, "snapshots/"))
        assert copy_store(store, target).whole
        assert content(target) == content(store)


def test_entries_come_in_the_order_of_their_numbers(
    store: ObjectStore, settings: Settings, copy: Versioned, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store, settings)
    for serial in range(2, 13):
        store.create(f"journal/nightly/{serial}.json", b"{}")
    order: list[int] = []
    create_from = copy.create_from

    def watched(key: str, path: Path) -> bool:
        if key.startswith("journal/nightly/"):
            order.append(int(key.split("/")[2].removesuffix(".json")))
        return create_from(key, path)

    monkeypatch.setattr(copy, "create_from", watched)
    copy_store(store, copy)
    assert order == list(range(1, 13))


class Changed:
    """A store in which one object has other bytes, or is deleted after it was listed."""

    def __init__(self, store: ObjectStore, key: str, data: bytes | None) -> None:
        self._store = store
        self._key = key
        self._data = data

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def size(self, key: str) -> int | None:
        if key == self._key:
            return None if self._data is None else len(self._data)
        return self._store.size(key)

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        if key == self._key and self._data is not None:
            return iter([self._data[start:stop]])
        return self._store.read(key, start, stop)


def test_damaged_bytes_are_not_copied_and_the_copy_is_not_complete(
    store: ObjectStore, settings: Settings, copy: Versioned
) -> None:
    filled(store, settings)
    wheel = next(key for key in keys(store, "files/") if key.endswith(".whl"))
    shard = next(keys(store, "shards/"))
    for key in (wheel, shard):
        broken = Changed(store, key, b"x" * (store.size(key) or 0))
        result = copy_store(broken, copy)  # type: ignore[arg-type]
        assert (result.damaged, result.whole) == ([key], False)
        assert copy.size(key) is None
        assert copy.size(MARK) is None
        assert copy_store(store, copy).whole
        copy.remove(MARK)
        copy.remove(shard)


def test_an_object_that_is_deleted_meanwhile_is_named(
    store: ObjectStore, settings: Settings, copy: Versioned
) -> None:
    filled(store, settings)
    wheel = next(key for key in keys(store, "files/") if key.endswith(".whl"))
    result = copy_store(Changed(store, wheel, None), copy)  # type: ignore[arg-type]
    assert (result.deleted, result.whole) == ([wheel], False)


def test_another_store_and_the_store_itself_are_no_targets(
    store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    filled(store, settings)
    with pytest.raises(ConflictError, match="the target is another store"):
        copy_store(store, open_store(f"file:{tmp_path / 'another'}"))
    with pytest.raises(ConflictError, match=r"the source has no store\.json"):
        copy_store(open_unmarked(f"file:{tmp_path / 'empty'}"), store)
    with pytest.raises(StoreError, match="is the store itself"):
        refuse_same("file:/srv/x", "file:/srv/x/")
