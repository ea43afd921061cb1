"""CPU targets: names, aliases, and the other targets whose wheels run on them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from index_server.configs import TargetTable

_IMPLEMENTER = re.compile(r"^CPU implementer\s*:\s*(0x[0-9a-fA-F]{1,4})\s*$", re.MULTILINE)
_PART = re.compile(r"^CPU part\s*:\s*(0x[0-9a-fA-F]{1,4})\s*$", re.MULTILINE)
VARIANTS = "variants"  # the path segment of the pages with wheel variants, in the place of a target
GENERIC = "generic"  # the target whose wheels every 64-bit Arm CPU runs
_NAMED = 40  # letters of a name that is repeated
_MODEL = re.compile(r"^\s*Model name:\s*(\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """A CPU target."""

    name: str
    description: str
    aliases: tuple[str, ...]
    also_runs: tuple[str, ...]  # best first
    instances: tuple[str, ...] = ()  # cloud instances and machines with this CPU
    parts: tuple[str, ...] = ()  # implementer and part, such as 0x41:0xd40

    @property
    def runs(self) -> tuple[str, ...]:
        """All targets whose wheels run on this one, the best first."""
        return (self.name, *self.also_runs)


@dataclass(frozen=True)
class Lens:
    """Selects what a page shows: a target and optionally a backend."""

    target: Target
    backend: str | None = None
    variants: bool = False  # wheel variants stand beside the wheels of the target (PEP 825)

    @property
    def slug(self) -> str:
        """The path segment of URLs: ``target`` or ``target+backend``, or ``variants``."""
        if self.variants:
            return VARIANTS
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
            Target(name, table.description, table.aliases, table.also_runs, table.instances, table.parts)
            for name, table in tables.items()
        )

    def resolve(self, name: str) -> Target | None:
        """The target with this name or alias, or None."""
        return self.by_name.get(name) or self._aliases.get(name)

    def of_machine(self, text: str) -> tuple[Target | None, str]:
        """Find the target of a machine in what ``/proc/cpuinfo`` or lscpu(1) prints, and say how it was found.

        Both name the CPU by implementer and part number (MIDR_EL1); lscpu by the model's name if it knows it.
        """
        implementer, part, model = (one.search(text) for one in (_IMPLEMENTER, _PART, _MODEL))
        if implementer and part:
            number = f"{implementer[1].lower()}:{part[1].lower()}"
            fitting = next((target for target in self.by_name.values() if number in target.parts), None)
            found = f"the implementer and part number {number}"
        elif model:
            fitting = self.resolve(re.sub(r"[ _]+", "-", model[1].strip().lower()))
            found = f"the model name {model[1].strip()}"
        else:
            fitting, found = self.resolve(text.strip().lower()), f"the name {text.strip()[:_NAMED]}"
            if fitting is None:
                return None, "This has no lines of implementer and part, and no model name."
        if fitting is None:
            return None, f"No target has {found}. Take generic, which runs everywhere."
        return fitting, f"It has {found}."

    def lens(self, text: str) -> Lens | None:
        """Parse ``target`` or ``target+backend``. Return None if the target is unknown or the backend empty."""
        name, plus, backend = text.partition("+")
        target = self.resolve(name)
        if target is None or (plus and not backend):
            return None
        return Lens(target, backend or None)
