"""Reads ``configs/`` and the environment; the edge where files become frozen data.

Unknown keys are answered with the nearest known one, and all faults of a file are reported together.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from builder.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
WHEEL_TESTS = Path(__file__).resolve().parent / "wheel_tests"  # scripts that recipes name under [verify]
ModelT = TypeVar("ModelT", bound=BaseModel)


def configs_dir() -> Path:
    """The folder of recipes, targets and toolchains; ``ARMWHEELS_CONFIGS`` names another one."""
    return Path(os.environ.get("ARMWHEELS_CONFIGS") or ROOT / "configs").resolve()


def home_dir() -> Path:
    """The state folder: ``ARMWHEELS_HOME``, else ``var`` in the project's own folder."""
    return Path(os.environ.get("ARMWHEELS_HOME") or ROOT / "var").resolve()


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def load_toml(model: type[ModelT], path: Path) -> ModelT:
    """Read ``path`` into ``model``.

    Raises:
        ConfigError: with every fault of the file, one a line.
    """
    return validate(model, read_toml(path), origin=str(path))


def validate(model: type[ModelT], data: object, *, origin: str) -> ModelT:
    """Validate plain data into ``model``; ``origin`` names the file in the message.

    Raises:
        ConfigError: with every fault, one a line.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        known = sorted(_field_names(model))
        lines = []
        for fault in error.errors(include_url=False):
            where = ".".join(str(part) for part in fault["loc"]) or "(top level)"
            message = fault["msg"].removeprefix("Value error, ")
            if fault["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.5)
                message = "unknown key" + (f"; did you mean '{near[0]}'?" if near else "")
            lines.append(f"  {where}: {message}")
        plural = "fault" if len(lines) == 1 else "faults"
        raise ConfigError(f"{origin}: {len(lines)} {plural}\n" + "\n".join(lines)) from error


def _field_names(model: type[BaseModel]) -> set[str]:
    """All keys legal anywhere below ``model``, for spelling advice."""
    schema = model.model_json_schema()
    names: set[str] = set(schema.get("properties", {}))
    for part in schema.get("$defs", {}).values():
        names |= set(part.get("properties", {}))
    return names
