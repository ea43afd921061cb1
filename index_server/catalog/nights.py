"""Reports of nights, and the logs of their builds: written once, as the builders send them.

A report is at ``nights/<night>.json``. A log is a sequence of parts, ``logs/<build>/<night>/<part>.txt``. The names
of parts sort in the order in which they were written. So a log is read while its build runs, and two attempts of a
build do not write over each other.
"""

from __future__ import annotations

from typing import Any

import orjson

from index_server.errors import MissingObjectError, NotFoundError
from index_server.store.interface import ObjectStore
from index_server.store.objects import keys

NIGHT = r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}"
BUILD = r"[A-Za-z0-9][A-Za-z0-9_.!+-]{0,199}"
PART = r"[0-9]{13}-[1-9][0-9]{0,3}-[a-z]{1,20}-[0-9]{5}"  # milliseconds, attempt, stage, number


class NightShelf:
    """All reports and logs in a store. Several threads and processes may add to it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def add(self, night: str, report: object) -> bool:
        """Keep the report of a night; return whether it is a new one. The first one stays."""
        return self._store.create(f"nights/{night}.json", orjson.dumps(report, option=orjson.OPT_SORT_KEYS))

    def find(self, night: str) -> dict[str, Any]:
        """The report of a night.

        Raises:
            NotFoundError: there is none.
        """
        try:
            report: dict[str, Any] = orjson.loads(self._store.get(f"nights/{night}.json"))
        except MissingObjectError:
            raise NotFoundError(f"there is no report of the night {night}") from None
        return report

    def nights(self) -> list[str]:
        """The nights that have a report, the newest first."""
        found = (key.removeprefix("nights/").removesuffix(".json") for key in keys(self._store, "nights/"))
        return sorted(found, reverse=True)

    def write(self, build: str, night: str, part: str, text: bytes) -> bool:
        """Add a part to a log; return whether it is a new one."""
        return self._store.create(f"logs/{build}/{night}/{part}.txt", text)

    def logged(self, build: str) -> list[str]:
        """The nights of which there is a log of a build, the newest first."""
        found = {key.split("/")[2] for key in keys(self._store, f"logs/{build}/")}
        return sorted(found, reverse=True)

    def read(self, build: str, night: str, after: str) -> tuple[bytes, str]:
        """The parts of a log behind the part ``after``, and the name of the last one.

        Raises:
            NotFoundError: there is no such log.
        """
        prefix = f"logs/{build}/{night}/"
        parts = sorted(key.removeprefix(prefix).removesuffix(".txt") for key in keys(self._store, prefix))
        if not parts:
            raise NotFoundError(f"there is no log of {build} in the night {night}")
        wanted = [part for part in parts if part > after]
        return b"".join(self._store.get(f"{prefix}{part}.txt") for part in wanted), parts[-1]
