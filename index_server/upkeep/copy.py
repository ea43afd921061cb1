"""Copies a store, to back it up or to restore it. Servers may go on writing to the source.

The journals are listed first and copied last, in the order of their entries. So whatever an entry of the copy
names is in the copy, also after an interruption. Signed documents name entries, and so are listed before them and
copied after them. The mark of the store comes at the very end: a new copy without it is not complete, and the next
run continues it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from index_server.errors import ConflictError, MissingObjectError, StoreError
from index_server.model import StoreMark
from index_server.store.interface import MARK, ObjectStore
from index_server.store.objects import find, keys

_JOURNALS, _HINTS, _CACHE, _SIGNED = "journal/", "channels/", "cache/", "tuf/"
_AT_ONCE = 8  # objects; a network store answers many requests in the time of one
Progress = Callable[[int, int], None]
"""Called after each object with the number of those that were looked at, and with the bytes that were copied."""


@dataclass
class Copied:
    """The result of a copy. ``damaged`` objects were not copied; ``deleted`` ones left the source meanwhile."""

    objects: int = 0
    bytes: int = 0
    there: int = 0
    damaged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.damaged and not self.deleted


def copy_store(source: ObjectStore, target: ObjectStore, progress: Progress = lambda *_: None) -> Copied:
    """Copy all objects that the target lacks, but the builders' compile cache.

    Raises:
        ConflictError: the target is another store, or the source is none.
        StoreError: one of them fails.
    """
    mark, other = find(source, StoreMark, MARK), find(target, StoreMark, MARK)
    if mark is None:
        raise ConflictError("the source has no store.json: it is no store, or a copy that is not complete")
    if other is not None and other.id != mark.id:
        raise ConflictError(f"the target is another store (id {other.id}, and the source has {mark.id})")
    result = Copied()
    signed = sorted(keys(source, _SIGNED), key=_as_named)
    journals = sorted(keys(source, _JOURNALS), key=_by_serial)
    apart = (_JOURNALS, _HINTS, _CACHE, _SIGNED)
    first = [key for key in keys(source, "") if not key.startswith(apart) and key != MARK]

    def copied(wanted: Iterable[str], *, at_once: int) -> None:
        with ThreadPoolExecutor(at_once) as pool:
            for key, size in pool.map(lambda key: (key, _copy(source, target, key)), wanted):
                _note(result, key, size)
                progress(result.objects + result.there, result.bytes)

    there = frozenset(keys(target, ""))
    result.there = sum(key in there for key in (*first, *journals, *signed))
    copied((key for key in first if key not in there), at_once=_AT_ONCE)
    # An entry must not be there without those before it.
    copied((key for key in journals if key not in there), at_once=1)
    copied((key for key in signed if key not in there), at_once=1)
    for key in keys(source, _HINTS):
        target.put_hint(key, source.get(key))
    if other is None and not result.damaged:
        target.create(MARK, source.get(MARK))
    return result


def _as_named(key: str) -> tuple[bool, bool, str]:
    """The order in which signed documents name each other: timestamp, which is the commit, comes last."""
    role = key.split("/")[1]
    return role == "timestamp", role == "snapshot", key


def _by_serial(key: str) -> tuple[str, int]:
    journal, _, name = key.rpartition("/")
    return journal, int(name.removesuffix(".json"))


def _note(result: Copied, key: str, size: int | None) -> None:
    if size is None:
        result.deleted.append(key)
    elif size < 0:
        result.damaged.append(key)
    else:
        result.objects += 1
        result.bytes += size


def _copy(source: ObjectStore, target: ObjectStore, key: str) -> int | None:
    """Copy an object. Return its size; None if it is gone, and -1 if its bytes are not those that its key names."""
    digest, size = hashlib.sha256(), 0
    try:
        whole = source.size(key)
        if whole is None:
            return None
        with target.scratch() as path:
            with path.open("wb") as file:
                for chunk in source.read(key, 0, whole):
                    digest.update(chunk)
                    size += file.write(chunk)
            if size != whole or not _is_right(key, digest.hexdigest()):
                return -1
            target.create_from(key, path)
    except MissingObjectError:
        return None
    return size


def _is_right(key: str, sha256: str) -> bool:
    """Whether an object has the sha256 in its key, if the key has one of its bytes."""
    first, _, rest = key.partition("/")
    if first == "files" and key.endswith(".whl"):
        return rest.startswith(f"{sha256}/")
    if key.startswith("tuf/policies/"):
        return rest == f"policies/{sha256}.json"
    return first not in ("attestations", "shards", "judgements") or rest == f"{sha256}.json"


def refuse_same(source: str, target: str) -> None:
    """Refuse to copy a store onto itself.

    Raises:
        StoreError: both addresses are one.
    """
    if source.rstrip("/") == target.rstrip("/"):
        raise StoreError(f"{target} is the store itself: name another place for the copy")
