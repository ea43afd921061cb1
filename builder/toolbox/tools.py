"""Reads ``configs/toolchains.toml``."""

from __future__ import annotations

from builder.model.toolchains import Toolchains
from builder.settings import configs_dir, load_toml


def load_toolchains() -> Toolchains:
    """Read ``configs/toolchains.toml``.

    Raises:
        ConfigError: with every fault of the file.
    """
    return load_toml(Toolchains, configs_dir() / "toolchains.toml")
