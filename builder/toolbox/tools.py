"""Reads ``configs/toolchains.toml``, and spells Python versions."""

from __future__ import annotations

from builder.model.toolchains import Toolchains
from builder.settings import configs_dir, load_toml


def load_toolchains() -> Toolchains:
    """Read ``configs/toolchains.toml``.

    Raises:
        ConfigError: with every fault of the file.
    """
    return load_toml(Toolchains, configs_dir() / "toolchains.toml")


def python_name(tag: str) -> str:
    """The program of a Python tag: ``cp311`` -> ``python3.11``."""
    return f"python{tag[2]}.{tag[3:]}"
