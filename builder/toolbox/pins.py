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


ON_ARM64 = "@arm64"
"""What follows the name of a part in the lock for its files on arm64 hosts."""


class Pins(Frozen):
    """``configs/toolchains.lock``: the pinned files of each part, such as ``zig`` or ``python-cp313``.

    ``asked`` is the sha256 of what ``toolchains.toml`` said of each part when it was pinned. ``lacking`` are parts
    that the host of these pins cannot have.
    """

    parts: dict[str, tuple[PinnedFile, ...]]
    asked: dict[str, Sha256] = Field(default_factory=dict)
    lacking: frozenset[str] = Field(default=frozenset(), exclude=True)

    def files(self, part: str) -> tuple[PinnedFile, ...]:
        """The pinned files of ``part``.

        Raises:
            ConfigError: the lock does not contain the part.
        """
        if part in self.lacking:
            raise ConfigError(f"the part '{part}' has no programs for arm64 hosts")
        if part not in self.parts:
            raise ConfigError(f"toolchains.lock pins nothing for '{part}'; run `{REFRESH}`")
        return self.parts[part]

    def digest(self, part: str) -> str:
        """sha256 over the part's pinned files and the way they are unpacked."""
        pinned = [UNPACK_VERSION, part, sorted(file.sha256 for file in self.files(part))]
        return hashlib.sha256(json.dumps(pinned).encode()).hexdigest()


def pins_on(machine: str, pins: Pins, toolchains: Toolchains) -> Pins:
    """The pins as a host of this machine, in the words of uname(1), has them. Pure.

    On an arm64 host, the programs of a part are those for arm64, and the CPython that runs builds is the one that
    other hosts emulate. So its builds have digests of their own.
    """
    if machine != "aarch64":
        return pins
    native = {
        name.removesuffix(ON_ARM64): files for name, files in pins.parts.items() if name.endswith(ON_ARM64)
    }
    pythons = {
        f"python-{tag}": pins.parts[f"userland-{tag}"]
        for tag in toolchains.pythons
        if f"userland-{tag}" in pins.parts
    }
    foreign = {
        name
        for name, tool in toolchains.tools.items()
        if isinstance(tool, DebianTool) and tool.architecture == "amd64" and name not in native
    }
    lacking = frozenset({*foreign, *toolchains.rust_parts})
    kept = {name: files for name, files in {**pins.parts, **pythons, **native}.items() if name not in lacking}
    return pins.model_copy(update={"parts": kept, "lacking": lacking})


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
    for name, tool in toolchains.tools.items():
        if isinstance(tool, DebianTool) and tool.arm64 is not None:
            packages = tool.packages if tool.arm64 == "same" else tool.arm64
            parts[f"{name}{ON_ARM64}"] = (Parts(suite=tool.suite, architecture="arm64", packages=packages),)
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
    asked |= {f"{name}{ON_ARM64}": asked[name] for name in wheels_for_arm64(toolchains)}
    return {
        name: hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        for name, said in asked.items()
    }


def wheels_for_arm64(toolchains: Toolchains) -> tuple[str, ...]:
    """The parts of wheels that are pinned for arm64 hosts, too. Pure."""
    return tuple(name for name, tool in toolchains.tools.items() if isinstance(tool, PyPITool) and tool.arm64)


def stale_parts(toolchains: Toolchains, pins: Pins) -> frozenset[str]:
    """Parts that are pinned, and of which ``toolchains.toml`` says something else since. Pure."""
    return frozenset(
        name
        for name, said in asked_of(toolchains).items()
        if name in pins.parts and pins.asked.get(name) != said
    )
