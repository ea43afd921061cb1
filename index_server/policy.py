"""What the index demands of publishers and readers, from ``configs/`` and the environment.

Gates are in ``channels.toml``. The cells they require are those marked ``required`` in ``matrices.toml``, which the
builder reads too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.x509 import Certificate

from index_server.configs import CellsTable, Configs, load_configs
from index_server.errors import ConfigError
from index_server.intake.attestations import read_authorities
from index_server.rules.gates import Cell, Gates
from index_server.rules.retention import Terms
from index_server.settings import (
    access_log,
    attestation_authorities,
    configs_folder,
    file_cache,
    metrics_are_open,
    reads_need_token,
    stale_seconds,
    uploads_per_second,
    variants_are_on,
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Gates, retention and limits. A channel without gates takes every snapshot."""

    gates: Mapping[str, Gates] = field(default_factory=dict)
    retention: Terms = field(default_factory=lambda: Terms({}))  # without days, everything is kept
    reads_need_token: bool = False
    uploads_per_second: float = 20.0  # of one token, on average
    uploads_at_once: int = 500  # of one token
    authorities: Sequence[
        Certificate
    ] = ()  # that issue the certificates of attestations; without any, all do
    stale_seconds: float = 3600.0  # for which pages in memory are served while the store is away
    file_cache: tuple[Path, int] | None = None  # folder and bytes
    metrics_are_open: bool = False
    access_log: bool = False
    variants: bool = False  # whether wheel variants (PEP 825) are taken and shown


def load_policy() -> Policy:
    """Read ``configs/`` and the environment.

    Raises:
        ConfigError: a file or a variable has faults.
    """
    configs = load_configs(configs_folder())
    return Policy(
        gates=gates_of(configs),
        retention=Terms({name: channel.retention_days for name, channel in configs.channels.items()}),
        reads_need_token=reads_need_token(),
        uploads_per_second=uploads_per_second(),
        authorities=_authorities(),
        stale_seconds=stale_seconds(),
        file_cache=file_cache(),
        metrics_are_open=metrics_are_open(),
        access_log=access_log(),
        variants=variants_are_on(),
    )


def _authorities() -> list[Certificate]:
    path = attestation_authorities()
    if path is None:
        return []
    try:
        return read_authorities(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def gates_of(configs: Configs) -> dict[str, Gates]:
    """The gates of each channel that has any, with the cells that they require."""
    names = {spelled: name for name, table in configs.targets.items() for spelled in (name, *table.aliases)}
    found = {}
    for name, channel in configs.channels.items():
        if channel.gates is not None:
            matrices = [configs.matrices[matrix] for matrix in channel.gates.required]
            blocks = [cells for matrix in matrices for cells in matrix.cells if cells.required]
            found[name] = Gates(
                sources=channel.gates.sources,
                required=tuple(cell for cells in blocks for cell in _product(cells, names)),
                evidence=channel.gates.evidence,
                approvals=channel.gates.approvals,
            )
    return found


def _product(cells: CellsTable, names: Mapping[str, str]) -> Iterator[Cell]:
    """One cell for each combination, with targets by their own names, as passports state them."""
    targets = [names[target] for target in cells.targets]
    for axes in itertools.product((cells.recipe,), cells.versions, cells.pythons, targets, cells.backends):
        yield Cell(*axes)
