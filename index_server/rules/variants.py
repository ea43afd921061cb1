"""Wheel variants (PEP 825 and 850, both drafts): which ones a page shows, and the JSON that describes them. Pure.

A page with variants has the plain wheels, those of the target ``generic``, under the names that they always have.
Beside each stand the variants of the same version, local part included, Python tag and ABI tag: one wheel for each
label. An installer without support of variants cannot parse their names and takes the plain wheel.

The label says the version of the architecture that the wheel needs, such as ``armv8.2a``. What a label means is
fixed here, and so is the document of a set of labels: the same labels give the same bytes.

Sources: :pep:`825`, "Variant label", "Variant metadata" and "Index-level metadata"; :pep:`850`, "Providers"; and
what uv 0.13.9 takes (``docs/decisions/index-12-wheel-variants.md``).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

import orjson

from index_server.model import Record
from index_server.rules.views import view
from index_server.targets import Lens, Targets

SCHEMA = "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"
NAMESPACE = "aarch64"
PROVIDER = "aarch64-variant-provider"
VALUES = ("8.1a", "8.2a", "8.3a", "8.4a")
"""Values of ``aarch64 :: version`` that uv's provider finds in a CPU, besides ``8a``, which every CPU has."""
LABELS = {f"armv{value}": value for value in VALUES}
"""The property of each label that the index takes."""
_JSON_NAME = re.compile(r"([a-z0-9][a-z0-9_.]*)-([A-Za-z0-9_.!+]+)-variants\.json\Z")


def document(labels: Iterable[str]) -> bytes:
    """The variant metadata of these labels: of a wheel's one label, or of all labels of a version.

    Raises:
        KeyError: a label is none of :data:`LABELS`.
    """
    data = {
        "$schema": SCHEMA,
        "default-priorities": {"namespace": [NAMESPACE]},
        "providers": {NAMESPACE: {"requires": [PROVIDER]}},
        "variants": {label: {NAMESPACE: {"version": [LABELS[label]]}} for label in sorted(set(labels))},
    }
    return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def with_variants(
    records: Iterable[Record], lens: Lens, targets: Targets, yanked: Container[str] = ()
) -> list[Record]:
    """The records that a page with variants shows: those of ``lens``, and the variants beside them.

    Of the variants of one label, the one whose target runs the targets of the others is shown, and of equals the
    newest. As in a view, a yanked one takes the place of no other.
    """
    listed = list(records)
    plain = view(listed, lens, yanked)
    beside = {_release(record) for record in plain}
    variants = [record for record in listed if record.label and _release(record) in beside]
    standing = [record for record in variants if record.filename not in yanked]
    shown = {
        record.filename: record for record in (*plain, *_best(variants, targets), *_best(standing, targets))
    }
    return [shown[name] for name in sorted(shown)]


def json_name(record: Record) -> str:
    """The name of the JSON file that describes the variants of a record's version (PEP 825)."""
    return f"{record.project.replace('-', '_')}-{record.version}-variants.json"


def of_json(filename: str, records: Iterable[Record]) -> list[Record]:
    """The variants that the JSON file of this name describes; empty if there is none of this name."""
    if not _JSON_NAME.match(filename):
        return []
    return [record for record in records if record.label and json_name(record) == filename]


def _best(variants: Iterable[Record], targets: Targets) -> Iterable[Record]:
    """The best variant of each version, Python, ABI and label."""
    best: dict[tuple[str, ...], tuple[tuple[int, str, str], Record]] = {}
    for record in variants:
        place = (*_release(record), record.label)
        rank = (_below(record, targets), record.uploaded_at, record.filename)
        if place not in best or rank > best[place][0]:
            best[place] = (rank, record)
    return [record for _, record in best.values()]


def _below(record: Record, targets: Targets) -> int:
    """How many other targets' wheels the wheel's target runs: more than each of those, so that it is above them."""
    target = targets.resolve(record.tuned.target) if record.tuned else None
    return len(target.also_runs) if target else 0


def _release(record: Record) -> tuple[str, ...]:
    return record.project, record.version, record.python_tag, record.abi_tag
