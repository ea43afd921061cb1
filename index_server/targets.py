"""CPU targets as the index knows them: names, aliases, and whose wheels also run there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from index_server.errors import ConfigError


@dataclass(frozen=True)
class Target:
    """A CPU as the index knows it."""

    name: str
    description: str
    aliases: tuple[str, ...]
    also_runs: tuple[str, ...]  # best first

    @property
    def runs(self) -> tuple[str, ...]:
        """All targets whose wheels run here, best first."""
        return (self.name, *self.also_runs)


@dataclass(frozen=True)
class Lens:
    """What a view is asked for: a target and, perhaps, a backend."""

    target: Target
    backend: str | None = None

    @property
    def slug(self) -> str:
        """How the lens is spelled in a URL."""
        return f"{self.target.name}+{self.backend}" if self.backend else self.target.name


class Targets:
    """All targets, by name and by alias."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self.by_name = {target.name: target for target in targets}
        self._aliases = {alias: target for target in self.by_name.values() for alias in target.aliases}

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Targets:
        """Read the tables of ``targets.toml``; keys that concern the builder alone are passed over.

        Raises:
            ConfigError: with every fault.
        """
        faults: list[str] = []
        targets = [_target(name, table, faults) for name, table in data.items() if isinstance(table, Mapping)]
        names = {target.name for target in targets}
        spelled: set[str] = set(names)
        for target in targets:
            faults += [
                f"{target.name}: also_runs names the unknown target {other!r}"
                for other in target.also_runs
                if other not in names
            ]
            faults += [f"alias {alias!r} has two meanings" for alias in target.aliases if alias in spelled]
            spelled.update(target.aliases)
        if not targets:
            faults.append("names no target")
        if faults:
            raise ConfigError("targets.toml:\n" + "\n".join(f"  {fault}" for fault in faults))
        return cls(targets)

    def resolve(self, name: str) -> Target | None:
        """The target with this name or alias."""
        return self.by_name.get(name) or self._aliases.get(name)

    def lens(self, text: str) -> Lens | None:
        """Read ``target`` or ``target+backend``; None where the target is unknown or the backend empty."""
        name, plus, backend = text.partition("+")
        target = self.resolve(name)
        if target is None or (plus and not backend):
            return None
        return Lens(target, backend or None)


def _target(name: str, table: Mapping[str, Any], faults: list[str]) -> Target:
    lists: dict[str, tuple[str, ...]] = {}
    for key in ("aliases", "also_runs"):
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            faults.append(f"{name}: {key} must be a list of names")
            value = []
        lists[key] = tuple(value)
    return Target(name, str(table.get("description", "")), lists["aliases"], lists["also_runs"])
