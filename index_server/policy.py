"""What this index demands: the gates of its channels, who may read, how fast one may upload.

Gates stand in ``channels.toml``; the cells they require are those marked ``required`` in ``matrices.toml``, so
that builder and index mean the same ones. What differs between machines comes from the environment.
"""

from __future__ import annotations

import difflib
import itertools
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from index_server.errors import ConfigError
from index_server.rules.gates import Cell, Gates
from index_server.rules.retention import Terms, terms_from
from index_server.settings import ROOT

_AXES = ("recipe", "versions", "pythons", "targets", "backends")
_KEYS = ("from", "required", "evidence", "approvals")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The demands. A channel without gates takes every snapshot."""

    gates: Mapping[str, Gates] = field(default_factory=dict)
    retention: Terms = field(default_factory=lambda: Terms({}))  # without days, everything is kept
    reads_need_token: bool = False
    uploads_per_second: float = 20.0  # of one token, over time
    uploads_at_once: int = 500


def load_policy() -> Policy:
    """Read the demands of this machine.

    Raises:
        ConfigError: a file is missing or wrong, or a variable is.
    """
    channels = _read(_configs() / "channels.toml")
    gates = gates_from(channels, load_matrices())
    reads = os.environ.get("ARMWHEELS_READS") or "open"
    if reads not in ("open", "token"):
        raise ConfigError(f"ARMWHEELS_READS is {reads!r}; it is either 'open' or 'token'")
    spelled = os.environ.get("ARMWHEELS_UPLOADS_PER_SECOND") or "20"
    try:
        rate = float(spelled)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e6:
        raise ConfigError(f"ARMWHEELS_UPLOADS_PER_SECOND is {spelled!r}; it is a number above 0")
    return Policy(
        gates=gates,
        retention=terms_from(channels),
        reads_need_token=reads == "token",
        uploads_per_second=rate,
    )


def load_matrices() -> dict[str, Any]:
    """The tables of ``matrices.toml``, which builder and index share; none where there is no such file.

    Raises:
        ConfigError: the file is wrong.
    """
    matrices = _configs() / "matrices.toml"
    return _read(matrices) if matrices.exists() else {}


def gates_from(channels: Mapping[str, Any], matrices: Mapping[str, Any]) -> dict[str, Gates]:
    """The gates of each channel that has any, from ``channels.toml`` and ``matrices.toml``.

    Raises:
        ConfigError: with every fault.
    """
    faults: list[str] = []
    found = {}
    for name, table in channels.items():
        if isinstance(table, dict) and "gates" in table:
            found[name] = _gates(name, table["gates"], channels, matrices, faults)
    if faults:
        raise ConfigError("channels.toml:\n" + "\n".join(f"  {fault}" for fault in faults))
    return found


def _gates(
    name: str, table: Any, channels: Mapping[str, Any], matrices: Mapping[str, Any], faults: list[str]
) -> Gates:
    where = f"{name}.gates"
    if not isinstance(table, dict):
        faults.append(f"{where}: must be a table")
        return Gates()
    for key in table:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            faults.append(f"{where}.{key}: unknown key" + (f"; did you mean {near[0]!r}?" if near else ""))
    sources, required, evidence = (_names(where, table, key, faults) for key in _KEYS[:3])
    faults += [f"{where}.from: there is no channel {each!r}" for each in sources if each not in channels]
    approvals = table.get("approvals", 0)
    if type(approvals) is not int or approvals < 0:
        faults.append(f"{where}.approvals: must be a number of people")
        approvals = 0
    cells: list[Cell] = []
    for matrix in required:
        if isinstance(matrices.get(matrix), dict):
            cells += _cells(matrix, matrices[matrix].get("cells"), faults)
        else:
            faults.append(f"{where}.required: matrices.toml has no matrix {matrix!r}")
    return Gates(sources=sources, required=tuple(cells), evidence=evidence, approvals=approvals)


def _names(where: str, table: Mapping[str, Any], key: str, faults: list[str]) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        faults.append(f"{where}.{key}: must be a list of names")
        return ()
    return tuple(value)


def _cells(matrix: str, rows: Any, faults: list[str]) -> Iterator[Cell]:
    """The required cells of a matrix."""
    for row in rows if isinstance(rows, list) else [rows]:
        if not isinstance(row, dict) or any(key not in row for key in _AXES):
            faults.append(f"matrices.toml: {matrix}.cells: each needs {', '.join(_AXES)}")
            continue
        if row.get("required"):
            axes = [[row["recipe"]], *(row[key] for key in _AXES[1:])]
            yield from (Cell(*map(str, axis)) for axis in itertools.product(*axes))


def _configs() -> Path:
    return Path(os.environ.get("ARMWHEELS_CONFIGS") or ROOT / "configs").resolve()


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
