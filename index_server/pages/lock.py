"""Lock files of a snapshot (:pep:`751`): the closure of some projects, from one view, with hashes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import parse_qs, quote

import tomlkit
from packaging.metadata import parse_email
from packaging.pylock import Package, PackageWheel, Pylock
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from index_server.catalog.catalog import Catalog
from index_server.errors import MalformedError, UnresolvableError
from index_server.model import Record, Snapshot
from index_server.rules.closure import Choice, Unresolvable, choices, closure
from index_server.rules.views import view
from index_server.targets import Lens

MOST_PROJECTS = 50
_LONGEST = 200  # letters of a requirement
_PYTHON = re.compile(r"3\.([0-9]{1,2})\Z")
_USAGE = (
    "ask for ?project=NAME&python=3.13; `project` may be repeated and may be a requirement such as numpy>=2"
)


class Locks:
    """Makes lock files from a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def of(self, base: str, snapshot: Snapshot, lens: Lens, query: str) -> bytes:
        """Return the lock file of the projects that a URL's query names; ``base`` is the address of the index.

        Raises:
            MalformedError: the query names no project, too many, or no Python.
            UnresolvableError: the snapshot does not have what they need; every reason is told.
        """
        wanted, python = _asked(query)

        def offers(name: NormalizedName) -> Sequence[Choice]:
            ref = snapshot.projects.get(name)
            if ref is None:
                return ()
            _, marks = self._catalog.status.shown(name)
            records = view(marks.offered(self._catalog.shard(ref.shard).records), lens, dict(marks.yanked))
            return choices(name, records, dict(marks.yanked), python)

        try:
            chosen = closure(wanted, offers, self._requires, python)
        except Unresolvable as error:
            raise UnresolvableError(*error.reasons) from None
        return _written(base, python, chosen)

    def _requires(self, record: Record) -> list[Requirement]:
        """The ``Requires-Dist`` of a file. A line that is no requirement is left out, as installers do."""
        key = f"{self._catalog.stored_key(record.sha256, record.filename)}.metadata"
        raw, _ = parse_email(self._catalog.store.get(key))
        found = []
        for line in raw.get("requires_dist", []):
            try:
                found.append(Requirement(line))
            except InvalidRequirement:
                continue
        return found


def _asked(query: str) -> tuple[list[Requirement], tuple[int, int]]:
    values = parse_qs(query, max_num_fields=4 * MOST_PROJECTS)
    lines = values.get("project", [])
    version = _PYTHON.match(values.get("python", [""])[0])
    if not lines or version is None:
        raise MalformedError(_USAGE)
    if len(lines) > MOST_PROJECTS:
        raise MalformedError(f"at most {MOST_PROJECTS} projects; {len(lines)} were asked for")
    found, wrong = [], []
    for line in lines:
        try:
            requirement = Requirement(line[:_LONGEST])
        except InvalidRequirement as error:
            wrong.append(f"{line[:_LONGEST]!r} is no requirement: {str(error).splitlines()[0]}")
            continue
        if requirement.url is not None:
            wrong.append(f"{line[:_LONGEST]!r} names a file; only what the snapshot has can be locked")
        found.append(requirement)
    if wrong:
        raise MalformedError(*wrong)
    return found, (3, int(version[1]))


def _written(base: str, python: tuple[int, int], chosen: Sequence[Choice]) -> bytes:
    lock = Pylock(
        lock_version=Version("1.0"),
        created_by="armwheels-index",
        requires_python=SpecifierSet(f"=={python[0]}.{python[1]}.*"),
        packages=[
            Package(
                name=one.project,
                version=one.version,
                wheels=[_wheel(base, record) for record in one.records],
            )
            for one in chosen
        ],
    )
    lock.validate()
    document: Mapping[str, object] = lock.to_dict()
    return tomlkit.dumps(document).encode()


def _wheel(base: str, record: Record) -> PackageWheel:
    return PackageWheel(
        name=record.filename,
        url=f"{base}/files/{record.sha256}/{quote(record.filename)}",
        upload_time=datetime.fromisoformat(record.uploaded_at),
        size=record.size,
        hashes={"sha256": record.sha256},
    )
