"""Reads the CPU targets: ``configs/targets.toml``, and ``configs/servers.toml`` with the server of each.

Apart from the other files of ``configs/``, since the audit needs no more than these two.
"""

from __future__ import annotations

from collections.abc import Mapping

from builder.model.server import Server, ServerTable
from builder.settings import configs_dir, read_toml, validate_tables
from builder.targets import Targets
from builder.targets import load as load_target_tables


def load_servers() -> dict[str, Server]:
    """Read ``servers.toml``.

    Raises:
        ConfigError: with every fault of the file.
    """
    path = configs_dir() / "servers.toml"
    tables = validate_tables(ServerTable, read_toml(path), origin=str(path))
    return {name: Server(name=name, **table.model_dump()) for name, table in tables.items()}


def load_targets(servers: Mapping[str, Server] | None = None) -> Targets:
    """Read ``targets.toml``, and ``servers.toml`` unless its content is given.

    Raises:
        ConfigError: with every fault of the file.
    """
    path = configs_dir() / "targets.toml"
    return load_target_tables(
        read_toml(path), load_servers() if servers is None else servers, origin=str(path)
    )
