"""Selects the development releases that a channel still lists (PEP 440: ``2.12.0.dev20261127``). Pure.

A nightly channel would otherwise list each night's version for ever, since each snapshot contains the one before.

1. The rule applies to a project when a snapshot receives a wheel of it. Other projects stay as they are.
2. A development version stays if it is one of the newest ``versions`` (at least one), or if its newest file was
   uploaded at most ``days`` days before the day of the snapshot. Other versions always stay.
3. A version that leaves the channel stays in its earlier snapshots for as long as these are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from packaging.version import Version

from index_server.model import DevelopmentRule, Record


def select(records: Iterable[Record], rule: DevelopmentRule | None, day: str) -> list[Record]:
    """The records of one project that stay in a snapshot of ``day`` (ISO 8601)."""
    listed = list(records)
    if rule is None:
        return listed
    newest = _newest_uploads(listed)
    ranked = sorted(newest, reverse=True)
    kept = set(ranked[: rule.versions or 1])
    if rule.days is not None:
        kept |= {version for version, at in newest.items() if _listed_until(at, rule.days) >= day[:10]}
    return [record for record in listed if (version := _version(record)) not in newest or version in kept]


def listed_until(records: Iterable[Record], rule: DevelopmentRule | None) -> dict[str, str]:
    """The day until which the channel lists each development file at least. Empty without a rule of days."""
    listed = list(records)
    if rule is None or rule.days is None:
        return {}
    newest = _newest_uploads(listed)
    return {
        record.filename: _listed_until(newest[version], rule.days)
        for record in listed
        if (version := _version(record)) in newest
    }


def describe(rule: DevelopmentRule) -> str:
    """The rule as one sentence for people."""
    parts = []
    if rule.versions is not None:
        parts.append(f"the newest {rule.versions}" if rule.versions > 1 else "the newest one")
    if rule.days is not None:
        parts.append(f"those of the last {rule.days} days")
    return f"Of the development versions of a project, this channel lists {' and '.join(parts)}."


def _newest_uploads(records: Iterable[Record]) -> Mapping[Version, str]:
    """The newest upload time of each development version."""
    newest: dict[Version, str] = {}
    for record in records:
        version = _version(record)
        if version.is_devrelease:
            newest[version] = max(newest.get(version, ""), record.uploaded_at)
    return newest


def _listed_until(at: str, days: int) -> str:
    return str(date.fromisoformat(at[:10]) + timedelta(days=days))


def _version(record: Record) -> Version:
    """The version without its local part, which tells targets apart."""
    return Version(Version(record.version).public)
