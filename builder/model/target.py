"""``configs/targets.toml``: the CPU targets as they are written. Frozen data."""

from __future__ import annotations

from typing import Annotated

from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator

from builder.model.base import Config, Name


class FlagsFrom(Config):
    """One entry of ``[TARGET.flags]``: the machine flags of a compiler from one version on."""

    since: Annotated[str, Field(alias="from")]
    """First version of the compiler that knows these flags."""
    flags: tuple[str, ...]
    """Exactly one ``-mcpu=`` flag: GCC drops SVE, I8MM and FP16 without a word where ``-march`` is given too."""

    @field_validator("since")
    @classmethod
    def _is_version(cls, value: str) -> str:
        return str(parse_version(value))

    @field_validator("flags")
    @classmethod
    def _one_family(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) != 1 or not value[0].startswith("-mcpu="):
            raise ValueError("one flag family a target: exactly one -mcpu=... and nothing beside it")
        return value


class Features(Config):
    """Corrections of archspec's list of CPU features, with names as in ``/proc/cpuinfo``."""

    add: tuple[str, ...] = ()
    """Features that archspec's list lacks."""
    remove: tuple[str, ...] = ()
    """Features of archspec's list that not every machine of this target has."""


class Cache(Config):
    """Cache sizes in KiB; of several products the smallest."""

    l1d: Annotated[int, Field(gt=0)]
    """First-level data cache of a core."""
    l2: Annotated[int, Field(gt=0)]
    """Second-level cache of a core."""
    l3: Annotated[int, Field(ge=0)]
    """Third-level cache of the chip; 0 where there is none."""


class Emulator(Config):
    """The CPU model of qemu-user for this target."""

    cpu: str
    """Name of the model, as ``qemu-aarch64 -cpu help`` lists it."""
    nearest: bool = False
    """Whether the model is of another CPU, which has the same instructions."""


class Core(Config):
    """The core for which ``armwheels bench`` estimates cycles."""

    model: Name
    """Name of the CPU for ``llvm-mca -mcpu``, whose scheduling model is used."""
    nearest: bool = False
    """Whether the model is of another core, the nearest that LLVM has."""
    width: Annotated[int, Field(gt=0)]
    """Instructions (macro-operations) that the core dispatches in a cycle."""
    window: Annotated[int, Field(gt=0)]
    """Micro-operations in the reorder buffer."""


class TargetTable(Config):
    """One table of ``configs/targets.toml``: a CPU target."""

    description: str
    """Name of the CPU for people."""
    aliases: tuple[Name, ...]
    """Product and cloud names; each is unique and none is the name of a target."""
    instances: tuple[str, ...] = ()
    """Cloud instances and machines with this CPU, for the index's page about CPUs."""
    also_runs: tuple[Name, ...]
    """Other targets whose wheels run on this CPU, best first."""
    archspec: str
    """Microarchitecture of archspec that gives the features and the order of targets."""
    unlisted: bool = False
    """Whether archspec does not have the microarchitecture; ``archspec`` is then the one directly below it."""
    above: tuple[Name, ...] = ()
    """Targets that this one includes although archspec's order does not say so."""
    parts: tuple[Annotated[str, Field(pattern=r"^0x[0-9a-f]{2}:0x[0-9a-f]{3}$")], ...]
    """CPU identifications (MIDR_EL1) as ``IMPLEMENTER:PART``, in the spelling of ``/proc/cpuinfo``."""
    server: Name
    """Server of ``servers.toml`` that programs see when they run under emulation."""
    features: Features = Features()
    """Corrections of archspec's list of CPU features."""
    llvm_cpu: str
    """Name of the CPU for ``llvm-mc --mcpu``, by which the audit decodes instructions."""
    llvm_attributes: tuple[Annotated[str, Field(pattern=r"^[+-][a-z0-9-]+$")], ...] = ()
    """Corrections of LLVM's list of extensions, so that the audit refuses what a machine may lack."""
    cache: Cache
    """Cache sizes."""
    sve_bits: Annotated[int, Field(ge=128, le=2048, multiple_of=128)] | None = None
    """Length of the SVE vectors in bits; required exactly for targets with SVE."""
    emulator: Emulator | None = None
    """CPU model of the emulator; without this key it has none."""
    core: Core
    """Core for which cycles are estimated."""
    flags: dict[Name, tuple[FlagsFrom, ...]]
    """Machine flags of each compiler, with rising versions."""

    @field_validator("flags")
    @classmethod
    def _ascending(cls, value: dict[str, tuple[FlagsFrom, ...]]) -> dict[str, tuple[FlagsFrom, ...]]:
        for compiler, steps in value.items():
            versions = [parse_version(step.since) for step in steps]
            if not versions or versions != sorted(set(versions)):
                raise ValueError(f"{compiler}: versions must be given, and rise")
        return value


def parse_version(text: str) -> Version:
    """The version number ``text``.

    Raises:
        ValueError: it is none.
    """
    try:
        return Version(text)
    except InvalidVersion:
        raise ValueError(f"'{text}' is not a version number") from None
