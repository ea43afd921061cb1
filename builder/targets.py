"""CPU targets: their flags, features and order, and the target that fits a machine. Pure: no I/O, no process.

Order
    ``a <= b`` means that every machine of target ``b`` runs wheels for ``a``. The order is partial. It consists of
    archspec's order, restricted to our targets, and the ``above`` edges of ``configs/targets.toml``. :func:`load`
    checks that a target has all features of the targets below it.
Flags
    Each target has one flag, ``-mcpu``, for each compiler.
Features
    archspec's list with the corrections of ``configs/targets.toml``. The names are those of Linux hardware
    capabilities (Documentation/arch/arm64/elf_hwcaps).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import archspec.cpu
from pydantic import field_serializer

from builder.errors import ConfigError
from builder.model.base import Frozen, Name
from builder.model.server import Server
from builder.model.target import Cache, Core, Emulator, FlagsFrom, TargetTable, parse_version
from builder.settings import nearest, there_are, validate_tables

# Capabilities without instructions that a compiler emits: kernel services, timers, processor state bits, cache
# maintenance, the behaviour of unaligned accesses, and hints, which every Armv8 CPU decodes. They do not affect the
# choice of a target, since hypervisors and kernels do not all report them.
NOT_IN_CODE = frozenset(
    {"afp", "bti", "cpuid", "dcpodp", "dcpop", "dgh", "dit", "ecv", "evtstrm", "ssbs", "uscat"}
)


GENERIC = "generic"
"""The target of a wheel that names none. Every 64-bit Arm machine runs its wheels."""
DEFAULT_EMULATED = "neoverse-v1"
"""The target that commands emulate by default. It has SVE, and qemu has a model of it."""
DEFAULT_PYTHON = "cp313"
"""The Python tag that commands take by default: that of the matrix ``quick``."""


class Target(Frozen):
    """One CPU target.

    ``a <= b`` means that wheels for ``a`` run on every machine of ``b``. ``"sve" in target`` means that it has SVE.
    """

    name: Name
    description: str
    aliases: tuple[str, ...]
    also_runs: tuple[str, ...]
    parts: tuple[str, ...]
    features: frozenset[str]
    below: frozenset[str]
    llvm_cpu: str
    llvm_attributes: tuple[str, ...]
    server: Server
    cache: Cache
    sve_bits: int
    emulator: Emulator | None
    core: Core
    compilers: dict[str, tuple[FlagsFrom, ...]]

    @field_serializer("features", "below", when_used="json")
    def _sorted(self, value: frozenset[str]) -> list[str]:
        """Return the set as a sorted list, since digests are computed from the JSON."""
        return sorted(value)

    def flags(self, compiler: str, version: str) -> tuple[str, ...]:
        """Return the machine flags for a version of ``compiler`` (gcc, clang or zig): one ``-mcpu``.

        Raises:
            ConfigError: the target has no flags for the compiler, or this version does not support the CPU.
        """
        steps = self.compilers.get(compiler)
        if steps is None:
            known = ", ".join(sorted(self.compilers))
            raise ConfigError(
                f"{self.name}: no flags for compiler '{compiler}'; configs/targets.toml has {known}"
            )
        try:
            requested = parse_version(version)
        except ValueError as error:
            raise ConfigError(f"{self.name}: {compiler}: {error}") from None
        fitting = [step for step in steps if parse_version(step.since) <= requested]
        if not fitting:
            raise ConfigError(
                f"{compiler} {version} does not support {self.name} ({self.description}); "
                f"it needs {compiler} {steps[0].since} or later"
            )
        return fitting[-1].flags

    @property
    def in_code(self) -> frozenset[str]:
        """The features whose instructions a wheel for this target may contain."""
        return self.features - NOT_IN_CODE

    @property
    def vector_bytes(self) -> int:
        """The length of SVE vectors in bytes; 0 without SVE."""
        return self.sve_bits // 8

    def with_server(self, server: Server) -> Target:
        """Return the target with another server in place of its own.

        Raises:
            ConfigError: the server has another CPU, or lacks features that the target's wheels may use.
        """
        if faults := server_faults(self, server):
            raise ConfigError("\n".join(faults))
        return self.model_copy(update={"server": server})

    def __contains__(self, feature: object) -> bool:
        return feature in self.features

    def __le__(self, other: Target) -> bool:
        return self.name in other.below

    def __lt__(self, other: Target) -> bool:
        return self.name != other.name and self <= other

    def __ge__(self, other: Target) -> bool:
        return other <= self

    def __gt__(self, other: Target) -> bool:
        return other < self

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name


class Targets(Mapping[str, Target]):
    """All targets in the order of the file, as a mapping by name. Lookups accept aliases, too."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self._by_name = {target.name: target for target in targets}
        self._by_alias = {alias: target for target in self._by_name.values() for alias in target.aliases}

    def __getitem__(self, name: str) -> Target:
        """Return the target with this name or alias.

        Raises:
            ConfigError: there is no such target. The message suggests the nearest name.
        """
        key = name.strip().lower().replace("_", "-")
        found = self._by_name.get(key) or self._by_alias.get(key)
        if found is None:
            advice = nearest(key, self.spellings)
            raise ConfigError(f"no target '{name}'; {advice or 'targets are ' + ', '.join(self._by_name)}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name or name in self._by_alias

    @property
    def spellings(self) -> tuple[str, ...]:
        """All names and aliases."""
        return (*self._by_name, *self._by_alias)

    def directly_above(self, target: Target) -> tuple[Target, ...]:
        """Return the targets above ``target`` that have no other target between."""
        above = [other for other in self.values() if other > target]
        return tuple(one for one in above if not any(other < one for other in above))

    def host_fit(self, cpuinfo: str) -> Fit:
        """Return the target that fits a machine. ``cpuinfo`` is the text of its ``/proc/cpuinfo``.

        A target fits if the machine has every feature that its wheels may use. If several fit, the result is the
        one with the processor's part number, or else the one with the most features.

        Raises:
            ConfigError: the text is not that of a 64-bit Arm machine.
        """
        machine = _parse_cpuinfo(cpuinfo)
        named = next((one for one in self.values() if machine.parts & set(one.parts)), None)
        fitting = [one for one in self.values() if one.in_code <= machine.features]
        if not fitting:
            raise ConfigError(
                "this machine lacks features of Armv8-A with floating point: no wheel runs on it"
            )
        best = max(fitting, key=lambda one: (one == named, len(one.in_code), len(one.below)))
        return Fit(
            target=best,
            named=named,
            parts=tuple(sorted(machine.parts)),
            features=machine.features,
            next_better=self.directly_above(best),
        )


class Fit(Frozen):
    """The target that fits a machine, and the target with its part number, if there is one."""

    target: Target
    named: Target | None
    parts: tuple[str, ...]
    features: frozenset[str]
    next_better: tuple[Target, ...]

    def why_not(self, target: Target) -> tuple[str, ...]:
        """Return the features of ``target`` that the machine lacks, sorted. If there is none, its wheels run."""
        return tuple(sorted(target.in_code - self.features))


class _Machine(Frozen):
    parts: frozenset[str]
    features: frozenset[str]


def load(
    data: Mapping[str, object], servers: Mapping[str, Server], *, origin: str = "configs/targets.toml"
) -> Targets:
    """Make targets from the parsed file ``data``, which messages call ``origin``.

    Raises:
        ConfigError: a table is not valid, names clash or are missing, the order disagrees with the features, an
            ``also_runs`` list disagrees with the order, or a server is of another target. The message has every
            fault of one of these kinds.
    """
    tables = validate_tables(TargetTable, data, origin=origin)
    faults = _name_faults(tables)
    faults += [
        f"{name}.server: no server '{table.server}'; {there_are(table.server, servers)}"
        for name, table in tables.items()
        if table.server not in servers
    ]
    if faults:
        raise ConfigError(f"{origin}:\n  " + "\n  ".join(faults))
    below = _order(tables)
    targets = [_target(name, table, below[name], servers[table.server]) for name, table in tables.items()]
    faults += [
        f"{target}: sve_bits must be given if and only if the features have sve"
        for target in targets
        if (target.sve_bits > 0) != ("sve" in target)
    ]
    faults += _order_faults({target.name: target for target in targets})
    faults += [fault for target in targets for fault in server_faults(target, target.server)]
    if faults:
        raise ConfigError(f"{origin}:\n  " + "\n  ".join(faults))
    return Targets(targets)


def server_faults(target: Target, server: Server) -> list[str]:
    """Why a server cannot stand for a target: another part number, or features that the target's wheels may use."""
    faults = []
    if server.part not in target.parts:
        faults.append(f"{target}: server {server.name} has part {server.part}, which is not among its parts")
    if lacking := sorted(target.in_code - server.flags):
        faults.append(f"{target}: server {server.name} lacks {', '.join(lacking)}")
    return faults


def _target(name: str, table: TargetTable, below: frozenset[str], server: Server) -> Target:
    features = set(archspec.cpu.TARGETS[table.archspec].features)
    return Target(
        name=name,
        description=table.description,
        aliases=table.aliases,
        also_runs=table.also_runs,
        parts=table.parts,
        features=frozenset((features | set(table.features.add)) - set(table.features.remove)),
        below=below,
        llvm_cpu=table.llvm_cpu,
        llvm_attributes=table.llvm_attributes,
        server=server,
        cache=table.cache,
        sve_bits=table.sve_bits or 0,
        emulator=table.emulator,
        core=table.core,
        compilers=table.flags,
    )


def _name_faults(tables: Mapping[str, TargetTable]) -> list[str]:
    faults = []
    owner: dict[str, str] = {name: name for name in tables}
    nodes: dict[str, str] = {}
    parts: dict[str, str] = {}
    for name, table in tables.items():
        for alias in table.aliases:
            if alias in owner:
                faults.append(f"{name}.aliases: alias '{alias}' already names {owner[alias]}")
            owner.setdefault(alias, name)
        for part in table.parts:
            if part in parts:
                faults.append(f"{name}.parts: part {part} already names {parts[part]}")
            parts.setdefault(part, name)
        if table.archspec not in archspec.cpu.TARGETS:
            advice = nearest(table.archspec, archspec.cpu.TARGETS)
            faults.append(f"{name}.archspec: archspec has no '{table.archspec}'; {advice}".removesuffix("; "))
        if table.archspec in nodes and not table.unlisted:
            faults.append(
                f"{name}.archspec: {nodes[table.archspec]} already uses archspec's {table.archspec}"
            )
        if not table.unlisted:
            nodes.setdefault(table.archspec, name)
        faults += [
            f"{name}.{key}: no target '{other}'; {nearest(other, tables)}".removesuffix("; ")
            for key, others in (("also_runs", table.also_runs), ("above", table.above))
            for other in others
            if other not in tables
        ]
    return faults


def _order(tables: Mapping[str, TargetTable]) -> dict[str, frozenset[str]]:
    """Return the names at or below each target: the transitive closure of archspec's order and our edges."""
    node = {name: archspec.cpu.TARGETS[table.archspec] for name, table in tables.items()}
    # One that archspec does not have stands directly above its node, and below nothing by archspec's order.
    listed = [name for name, table in tables.items() if not table.unlisted]
    below = {
        name: {name, *(other for other in listed if node[other] <= node[name]), *table.above}
        for name, table in tables.items()
    }
    changed = True
    while changed:
        changed = False
        for names in below.values():
            wider = set().union(*(below[other] for other in names))
            if not wider <= names:
                names |= wider
                changed = True
    return {name: frozenset(names) for name, names in below.items()}


def _order_faults(targets: Mapping[str, Target]) -> list[str]:
    faults = []
    for target in targets.values():
        for other in targets.values():
            if target < other and other < target:
                faults.append(f"{target} and {other} each include the other")
            elif other < target and not other.in_code <= target.in_code:
                lacking = ", ".join(sorted(other.in_code - target.in_code))
                faults.append(f"{target} is above {other} in the order, but lacks its {lacking}")
        listed = [targets[name] for name in target.also_runs]
        faults += [
            f"{target}: also_runs has {one}, which is not below it" for one in listed if not one < target
        ]
        for position, one in enumerate(listed):
            faults += [
                f"{target}: also_runs lists {one} before {later}, which is not below it"
                for later in listed[position + 1 :]
                if one <= later
            ]
    return faults


def _parse_cpuinfo(text: str) -> _Machine:
    """Return the part numbers of all cores, and the features that all cores have.

    ``/proc/cpuinfo`` has one block per core (arch/arm64/kernel/cpuinfo.c), and a process may run on any core.
    """
    fields = [
        (key.strip(), value.strip())
        for key, separator, value in (line.partition(":") for line in text.splitlines())
        if separator
    ]
    implementers = [value for key, value in fields if key == "CPU implementer"]
    part_numbers = [value for key, value in fields if key == "CPU part"]
    features = [frozenset(value.split()) for key, value in fields if key == "Features"]
    if not (implementers and len(implementers) == len(part_numbers) == len(features)):
        vendor = next((value for key, value in fields if key == "vendor_id"), None)
        seen = f"it names {vendor}" if vendor else "it names no 'CPU implementer' and 'Features'"
        raise ConfigError(f"this is not an Arm machine's /proc/cpuinfo: {seen}")
    common = frozenset.intersection(*features)
    if "asimd" not in common:
        raise ConfigError(
            "this is a 32-bit Arm machine (no 'asimd' feature); wheels here are for 64-bit ones"
        )
    pairs = zip(implementers, part_numbers, strict=True)
    return _Machine(
        parts=frozenset(f"0x{int(maker, 16):02x}:0x{int(part, 16):03x}" for maker, part in pairs),
        features=common,
    )
