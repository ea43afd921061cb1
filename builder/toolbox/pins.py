"""``configs/toolchains.lock``: the pinned files of each part of the toolbox."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field

from builder.errors import ConfigError
from builder.model.base import Frozen, Sha256
from builder.model.toolchains import DebianTool, PyPITool, Toolchains
from builder.settings import configs_dir, validate
from builder.toolbox.unpack import UNPACK_VERSION

REFRESH = "armwheels lock --refresh"


class PinnedFile(Frozen):
    """One file of the lock: a Debian package, whose ``path`` is relative to the mirror, or a wheel of PyPI."""

    name: str
    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: int | None = None
    path: str

    @property
    def filename(self) -> str:
        return self.path.rsplit("/", 1)[-1]


class Pins(Frozen):
    """``configs/toolchains.lock``: the pinned files of each part, such as ``zig`` or ``python-cp313``.

    ``asked`` is the sha256 of what ``toolchains.toml`` said of each part when it was pinned.
    """

    parts: dict[str, tuple[PinnedFile, ...]]
    asked: dict[str, Sha256] = Field(default_factory=dict)

    def files(self, part: str) -> tuple[PinnedFile, ...]:
        """The pinned files of ``part``.

        Raises:
            ConfigError: the lock does not contain the part.
        """
        if part not in self.parts:
            raise ConfigError(f"toolchains.lock pins nothing for '{part}'; run `{REFRESH}`")
        return self.parts[part]

    def digest(self, part: str) -> str:
        """sha256 over the part's pinned files and the way they are unpacked."""
        pinned = [UNPACK_VERSION, part, sorted(file.sha256 for file in self.files(part))]
        return hashlib.sha256(json.dumps(pinned).encode()).hexdigest()


def load_pins() -> Pins:
    """Read ``configs/toolchains.lock``; raises :class:`ConfigError` if it is missing or malformed."""
    path = configs_dir() / "toolchains.lock"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run `{REFRESH}`") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}; run `{REFRESH}`") from error
    return validate(Pins, data, origin=str(path))


class Parts(Frozen):
    """The Debian packages of one part, which ``lock --refresh`` looks up in signed indices."""

    suite: str
    architecture: str
    packages: tuple[str, ...]
    installed: tuple[str, ...] | None = None
    """Packages that count as installed while what ``packages`` need is added; with ``None`` nothing is added."""


def debian_parts(toolchains: Toolchains) -> dict[str, tuple[Parts, ...]]:
    """The packages of every part from Debian, one entry for each suite; keys are the names in the lock."""
    parts = {
        name: tuple(
            Parts(
                suite=suite,
                architecture=tool.architecture,
                packages=packages,
                installed=_installed(tool, toolchains),
            )
            for suite, packages in ((tool.suite, tool.packages), *tool.also.items())
        )
        for name, tool in toolchains.tools.items()
        if isinstance(tool, DebianTool)
    }
    for tag, python in toolchains.pythons.items():
        for kind, architecture, packages in (
            ("python", "amd64", python.build),
            ("headers", "arm64", python.headers),
            ("userland", "arm64", python.userland),
        ):
            one = Parts(suite=python.suite, architecture=architecture, packages=packages)
            parts[f"{kind}-{tag}"] = (one,)
    return parts


def _installed(tool: DebianTool, toolchains: Toolchains) -> tuple[str, ...] | None:
    base = toolchains.tools[tool.closure_beside] if tool.closure_beside is not None else None
    return base.packages if isinstance(base, DebianTool) else None


def asked_of(toolchains: Toolchains) -> dict[str, str]:
    """sha256 of what ``toolchains.toml`` says of each part and the lock depends on. Pure."""
    asked: dict[str, object] = {
        name: [part.model_dump(mode="json", exclude_none=True) for part in parts]
        for name, parts in debian_parts(toolchains).items()
    }
    asked |= {
        name: tool.requirements for name, tool in toolchains.tools.items() if isinstance(tool, PyPITool)
    }
    return {
        name: hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        for name, said in asked.items()
    }


def stale_parts(toolchains: Toolchains, pins: Pins) -> frozenset[str]:
    """Parts that are pinned, and of which ``toolchains.toml`` says something else since. Pure."""
    return frozenset(
        name
        for name, said in asked_of(toolchains).items()
        if name in pins.parts and pins.asked.get(name) != said
    )
