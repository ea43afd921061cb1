"""CPU targets: names, aliases, and the other targets whose wheels run on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from index_server.configs import TargetTable


@dataclass(frozen=True)
class Target:
    """A CPU target."""

    name: str
    description: str
    aliases: tuple[str, ...]
    also_runs: tuple[str, ...]  # best first

    @property
    def runs(self) -> tuple[str, ...]:
        """All targets whose wheels run on this one, the best first."""
        return (self.name, *self.also_runs)


@dataclass(frozen=True)
class Lens:
    """Selects what a page shows: a target and optionally a backend."""

    target: Target
    backend: str | None = None

    @property
    def slug(self) -> str:
        """The path segment of URLs: ``target`` or ``target+backend``."""
        return f"{self.target.name}+{self.backend}" if self.backend else self.target.name


class Targets:
    """All targets, by name and by alias."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self.by_name = {target.name: target for target in targets}
        self._aliases = {alias: target for target in self.by_name.values() for alias in target.aliases}

    @classmethod
    def from_tables(cls, tables: Mapping[str, TargetTable]) -> Targets:
        """The targets of ``targets.toml``."""
        return cls(
            Target(name, table.description, table.aliases, table.also_runs) for name, table in tables.items()
        )

    def resolve(self, name: str) -> Target | None:
        """The target with this name or alias, or None."""
        return self.by_name.get(name) or self._aliases.get(name)

    def lens(self, text: str) -> Lens | None:
        """Parse ``target`` or ``target+backend``. Return None if the target is unknown or the backend empty."""
        name, plus, backend = text.partition("+")
        target = self.resolve(name)
        if target is None or (plus and not backend):
            return None
        return Lens(target, backend or None)
