"""The files ``{name}-{version}-variants.json`` (PEP 825), and the links to them from pages with variants.

Such a file lies below the path of one snapshot. It is made from the snapshot's records alone, which never change.
So its address always has the same bytes. Yanks and quarantines do not change it: the page lists fewer wheels then.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from packaging.utils import canonicalize_name

from index_server.catalog.catalog import Catalog
from index_server.errors import NotFoundError
from index_server.model import Record, Snapshot, sha256_hex
from index_server.pages.answers import Fixed
from index_server.pages.simple import Beside
from index_server.rules.variants import document, json_name, of_json, with_variants
from index_server.targets import GENERIC, VARIANTS, Lens, Targets


class Variants:
    """Pages with variants; ``on`` says whether the index has them."""

    def __init__(self, catalog: Catalog, targets: Targets, *, on: bool) -> None:
        self._catalog = catalog
        self._targets = targets
        plain = targets.by_name.get(GENERIC)
        self.lens = Lens(plain, variants=True) if on and plain is not None else None

    def is_json(self, parts: Sequence[str]) -> bool:
        """Whether a path is that of a JSON file: ``snapshots/ID/variants/PROJECT/FILE``."""
        if self.lens is None or len(parts) != 5:
            return False
        return (
            parts[0] == "snapshots"
            and parts[2] == VARIANTS
            and parts[3] != "simple"
            and parts[4].endswith("-variants.json")
        )

    def json(self, snapshot_id: str, project: str, filename: str) -> Fixed:
        """A JSON file.

        Raises:
            NotFoundError: there is no such snapshot, or no file of this name in it.
        """
        snapshot = self._catalog.find_snapshot(snapshot_id)
        ref = snapshot.projects.get(project) if canonicalize_name(project) == project else None
        found = of_json(filename, self._catalog.shard(ref.shard).records) if ref else []
        if not found:
            raise NotFoundError("there is no such file")
        return Fixed(_body(found), "application/json")

    def shown(
        self, snapshot: Snapshot, records: Sequence[Record], lens: Lens, yanked: dict[str, str], root: str
    ) -> tuple[list[Record], list[Beside]]:
        """The records that a project's page shows of those that are offered, and the JSON files of its variants."""
        shown = with_variants(records, lens, self._targets, yanked)
        described = {json_name(record): record.project for record in shown if record.label}
        return shown, [
            self._beside(snapshot, project, filename, root) for filename, project in sorted(described.items())
        ]

    def _beside(self, snapshot: Snapshot, project: str, filename: str, root: str) -> Beside:
        found = of_json(filename, self._catalog.shard(snapshot.projects[project].shard).records)
        body = _body(found)
        return Beside(
            filename=filename,
            url=f"{root}snapshots/{snapshot.id}/{VARIANTS}/{project}/{quote(filename)}",
            sha256=sha256_hex(body),
            size=len(body),
            uploaded_at=max(record.uploaded_at for record in found),
        )


def _body(variants: Sequence[Record]) -> bytes:
    return document(record.label for record in variants)
