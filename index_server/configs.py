"""Reads ``channels.toml``, ``matrices.toml`` and ``targets.toml`` of ``configs/`` strictly.

Each file is a set of named tables. The models below list every key. An unknown key is an error that suggests the
nearest key of the same table. The faults of all three files are reported in one :class:`ConfigError`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from index_server.errors import ConfigError
from index_server.reasons import did_you_mean

RESERVED = frozenset(
    {
        *("api", "cpu", "files", "healthz", "integrity", "livez", "metrics", "openapi.json", "readyz"),
        *("search", "simple", "snapshots", "staging", "tuf", "upload"),
    }
)
"""First path segments that the server uses itself; no channel may have such a name."""

EVIDENCE_KINDS = ("audit", "emulation", "bench")
"""Kinds of evidence that the builder publishes. Others may add their own, but none that is nearly one of these."""

MAX_RETENTION_DAYS = 36_500  # a century; dates stay within what datetime can hold
MAX_NAME = 64
_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
_NAME_RULE = f"a name is at most {MAX_NAME} lower-case letters, digits and single dashes"

Name = Annotated[str, Field(pattern=rf"^{_NAME}$", max_length=MAX_NAME)]
PythonTag = Annotated[str, Field(pattern=r"^cp3[0-9]+t?$")]
Switch = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0)]


class Table(BaseModel):
    """Base of all tables: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class GatesTable(Table):
    """``[CHANNEL.gates]``: what a snapshot needs before the channel may point at it."""

    sources: Annotated[tuple[Name, ...], Field(alias="from")] = ()
    """Channels, one of which must have shown the snapshot; empty for no such condition."""

    required: tuple[Name, ...] = ()
    """Matrices of ``matrices.toml`` whose cells marked ``required`` must be in the snapshot."""

    evidence: tuple[Name, ...] = ()
    """Kinds of evidence that every wheel with a passport must have, and must have passed."""

    approvals: Count = 0
    """How many people must approve the snapshot, besides the one who moves the channel."""


class ChannelTable(Table):
    """``[CHANNEL]`` of ``channels.toml``: a named sequence of snapshots."""

    description: str
    """What the landing page says about the channel."""

    retention_days: Annotated[int, Field(strict=True, ge=0, le=MAX_RETENTION_DAYS)] | None = None
    """Days that files stay after the channel left their snapshot; without it they stay for ever."""

    dev_versions: Annotated[int, Field(strict=True, ge=1)] | None = None
    """Development versions of a project that the channel lists, the newest; without it and ``dev_days``, all."""

    dev_days: Annotated[int, Field(strict=True, ge=1, le=MAX_RETENTION_DAYS)] | None = None
    """Days for which the channel lists a development version after its last upload, besides the newest ones."""

    gates: GatesTable | None = None
    """What a snapshot needs before the channel may point at it; without it every snapshot passes."""


class CellsTable(Table):
    """``[[MATRIX.cells]]`` of ``matrices.toml``: the product of its lists, one wheel each."""

    recipe: Name
    """The name of a file in ``configs/recipes``."""

    versions: Annotated[tuple[str, ...], Field(min_length=1)]
    """Versions of the project, as its recipe lists them."""

    newest: Annotated[int, Field(ge=1)] = 1
    """How many versions the builder leaves there when it adds one; without a meaning for the server."""

    pythons: Annotated[tuple[PythonTag, ...], Field(min_length=1)]
    """Python tags, such as ``cp313``."""

    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    """CPU targets of ``targets.toml``, by name or alias."""

    backends: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Backends of the recipe."""

    required: Switch = False
    """Whether a channel whose gates require the matrix needs these wheels."""


class MatrixTable(Table):
    """``[MATRIX]`` of ``matrices.toml``: the wheels that one run builds."""

    description: str
    """What the matrix builds, in one line."""

    closed: Switch = False
    """Whether a nightly run also publishes what the wheels depend on, so that one ``--index-url`` suffices."""

    cells: Annotated[tuple[CellsTable, ...], Field(min_length=1)]
    """Blocks of cells."""


class FeaturesTable(Table):
    """``features`` of a target: corrections to archspec's list."""

    add: tuple[str, ...] = ()
    """Features that machines of the target have and archspec does not list."""

    remove: tuple[str, ...] = ()
    """Features that archspec lists and that wheels for the target must not use."""


class CacheTable(Table):
    """``cache`` of a target: sizes in KiB."""

    l1d: Count
    """First-level data cache of a core."""

    l2: Count
    """Second-level cache of a core."""

    l3: Count
    """Third-level cache of a chip; 0 where there is none."""


class CoreTable(Table):
    """``core`` of a target: the core for which the builder estimates cycles."""

    model: Name
    """The name of LLVM's scheduling model."""

    nearest: bool = False
    """Whether the model is of another core."""

    width: Count
    """Instructions that the core dispatches in a cycle."""

    window: Count
    """Micro-operations in the reorder buffer."""


class EmulatorTable(Table):
    """``emulator`` of a target: the CPU model under which its wheels are tested."""

    cpu: str
    """The name of the model in qemu-user."""

    nearest: bool = False
    """Whether the model is of another CPU, which has the same instructions."""


class FlagsTable(Table):
    """One entry of ``flags``: the machine flags of a compiler from one version on."""

    since: Annotated[str, Field(alias="from")]
    """The first version of the compiler that takes these flags."""

    flags: tuple[str, ...]
    """The flags, one ``-mcpu=...``."""


class TargetTable(Table):
    """``[TARGET]`` of ``targets.toml``: a CPU. The index uses the first four keys and ``parts``."""

    description: str
    """The name of the CPU for people."""

    aliases: tuple[Name, ...]
    """Product and cloud names that stand for the target in URLs and commands; each is unique."""

    instances: tuple[str, ...] = ()
    """Cloud instances and machines with this CPU, for people who look for theirs."""

    also_runs: tuple[Name, ...]
    """Other targets whose wheels run on this CPU, the best first."""

    archspec: str | None = None
    """The microarchitecture of archspec that gives the features and the order of targets."""

    unlisted: bool = False
    """Whether archspec does not have the microarchitecture; ``archspec`` is then the one directly below it."""

    above: tuple[Name, ...] = ()
    """Targets that this one includes although archspec's order does not say so."""

    parts: tuple[str, ...] = ()
    """Implementer and part number as in ``/proc/cpuinfo``, such as ``0x41:0xd40``."""

    server: Name | None = None
    """The server of ``servers.toml`` that programs see when they run under emulation."""

    features: FeaturesTable | None = None
    """Corrections to archspec's list of features."""

    llvm_cpu: str | None = None
    """The CPU's name for LLVM, by which the audit decodes instructions."""

    llvm_attributes: tuple[str, ...] = ()
    """Corrections to LLVM's features of that CPU, such as ``-sm4``."""

    cache: CacheTable | None = None
    """Sizes of the caches; of several products the smallest."""

    core: CoreTable | None = None
    """The core for which cycles are estimated."""

    sve_bits: Count | None = None
    """The length of the SVE vectors in bits; absent without SVE."""

    emulator: EmulatorTable | None = None
    """The CPU model of qemu-user; absent where there is none."""

    flags: dict[str, tuple[FlagsTable, ...]] = Field(default_factory=dict)
    """Machine flags by compiler (``gcc``, ``clang``, ``zig``), by rising version."""


@dataclass(frozen=True, kw_only=True)
class Configs:
    """The tables of the three files, each by its name."""

    channels: Mapping[str, ChannelTable]
    matrices: Mapping[str, MatrixTable]
    targets: Mapping[str, TargetTable]


TableT = TypeVar("TableT", bound=Table)


class TableFile(Generic[TableT]):
    """One file of named tables, all of one model."""

    def __init__(self, name: str, model: type[TableT], *, optional: bool = False) -> None:
        self.name = name
        self.model = model
        self._optional = optional

    def parse(self, folder: Path, faults: list[str]) -> dict[str, Any] | None:
        """The file as plain data; None, with a fault, where it is no TOML."""
        path = folder / self.name
        if self._optional and not path.exists():
            return {}
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            faults.append(f"{self.name}: not valid TOML: {error}")
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{self.name}: cannot be read: {error}")
        return None

    def tables(self, data: Mapping[str, Any], faults: list[str]) -> dict[str, TableT]:
        """The tables that are valid; the faults of the others are added to ``faults``."""
        if not data and not self._optional:
            faults.append(f"{self.name}: names no {self.name.removesuffix('s.toml')}")
        valid = {}
        for name, table in data.items():
            if len(name) > MAX_NAME or not re.fullmatch(_NAME, name):
                faults.append(f"{self.name}: {name!a}: {_NAME_RULE}")
            try:
                valid[name] = self.model.model_validate(table)
            except ValidationError as error:
                faults += [
                    f"{self.name}: {_place(name, fault['loc'])}: {self._explain(fault)}"
                    for fault in error.errors()
                ]
        return valid

    def _explain(self, fault: ErrorDetails) -> str:
        *table, key = fault["loc"] or ("",)
        match fault["type"]:
            case "extra_forbidden":
                return "unknown key" + did_you_mean(str(key), _keys(self.model.model_json_schema(), table))
            case "missing":
                return "the key is missing"
            case "tuple_type":
                return "must be a list"
            case "model_type" | "dict_type":
                return "must be a table"
        return fault["msg"]


CHANNELS = TableFile("channels.toml", ChannelTable)
MATRICES = TableFile("matrices.toml", MatrixTable, optional=True)
TARGETS = TableFile("targets.toml", TargetTable)
FILES = (CHANNELS, MATRICES, TARGETS)


def load_configs(folder: Path) -> Configs:
    """Read the three files in ``folder``. ``matrices.toml`` may be absent.

    Raises:
        ConfigError: with every fault of every file, also those between files.
    """
    faults: list[str] = []
    channels, matrices, targets = (file.parse(folder, faults) for file in FILES)
    found = Configs(
        channels=CHANNELS.tables(channels, faults) if channels is not None else {},
        matrices=MATRICES.tables(matrices, faults) if matrices is not None else {},
        targets=TARGETS.tables(targets, faults) if targets is not None else {},
    )
    faults += _channel_faults(found, channels or {}, matrices)
    faults += _target_faults(found, targets or {})
    if targets is not None:
        faults += _cell_faults(found, targets)
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ConfigError(f"{folder}: {len(faults)} fault{'s' if len(faults) > 1 else ''}\n{lines}")
    return found


def _channel_faults(
    found: Configs, channels: Iterable[str], matrices: Mapping[str, Any] | None
) -> Iterator[str]:
    """Channel names that the server uses itself, and gates that name an unknown channel or matrix."""
    known = list(channels)
    for name in known:
        if name in RESERVED:
            yield f"channels.toml: {name}: the server uses this path itself; take another name"
    for name, channel in found.channels.items():
        gates = channel.gates or GatesTable()
        for source in gates.sources:
            if source not in known:
                yield f"channels.toml: {name}.gates.from: no channel {source!r}{did_you_mean(source, known)}"
        for matrix in gates.required:
            if matrices is None:  # the file cannot be read, which is one fault already
                continue
            if matrix not in matrices:
                near = did_you_mean(matrix, matrices)
                yield f"channels.toml: {name}.gates.required: matrices.toml has no matrix {matrix!r}{near}"
            elif matrix in found.matrices and not any(
                cells.required for cells in found.matrices[matrix].cells
            ):
                yield f"channels.toml: {name}.gates.required: matrix {matrix!r} has no cells marked required"
        for kind in gates.evidence:
            if kind not in EVIDENCE_KINDS and (near := did_you_mean(kind, EVIDENCE_KINDS)):
                yield f"channels.toml: {name}.gates.evidence: {kind!r} is no kind of evidence here{near}"


def _target_faults(found: Configs, targets: Iterable[str]) -> Iterator[str]:
    """Unknown names in ``also_runs`` and ``above``, and aliases with two meanings."""
    known = list(targets)
    owners = {name: name for name in known}
    for name, target in found.targets.items():
        for key, others in (("also_runs", target.also_runs), ("above", target.above)):
            for other in others:
                if other not in known:
                    yield f"targets.toml: {name}.{key}: no target {other!r}{did_you_mean(other, known)}"
        for alias in target.aliases:
            if alias in owners:
                yield f"targets.toml: {name}.aliases: alias {alias!r} has two meanings; it names {owners[alias]}"
            owners.setdefault(alias, name)


def _cell_faults(found: Configs, targets: Mapping[str, Any]) -> Iterator[str]:
    """Cells of a target that is not in ``targets.toml``."""
    known = {*targets, *(alias for target in found.targets.values() for alias in target.aliases)}
    for name, matrix in found.matrices.items():
        for number, cells in enumerate(matrix.cells):
            for target in cells.targets:
                if target not in known:
                    place = f"{name}.cells[{number}].targets"
                    yield f"matrices.toml: {place}: no target {target!r}{did_you_mean(target, known)}"


def _place(name: str, location: Sequence[int | str]) -> str:
    """Spell a place in a file: ``quick.cells[0].recipe``."""
    return name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _keys(schema: Mapping[str, Any], location: Sequence[int | str]) -> list[str]:
    """The keys of the table at ``location``, found by following the JSON Schema of the outermost one."""
    node = schema
    for part in location:
        if isinstance(part, int):
            node = node["items"]
        else:
            node = node.get("properties", {}).get(part) or node["additionalProperties"]
        node = next((each for each in node.get("anyOf", ()) if each.get("type") != "null"), node)
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return list(node.get("properties", ()))
