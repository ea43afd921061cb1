"""``configs/toolchains.lock``: the pinned files of each part of the toolbox."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field

from builder.errors import ConfigError
from builder.model.base import Frozen
from builder.model.toolchains import DebianTool, Toolchains
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
    """``configs/toolchains.lock``: the pinned files of each part, such as ``zig`` or ``python-cp313``."""

    parts: dict[str, tuple[PinnedFile, ...]]

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


def debian_parts(toolchains: Toolchains) -> dict[str, tuple[Parts, ...]]:
    """The packages of every part from Debian, one entry for each suite; keys are the names in the lock."""
    parts = {
        name: tuple(
            Parts(suite=suite, architecture=tool.architecture, packages=packages)
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
