"""The emulator's CPU models, and how they differ from the real CPUs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.targets import Target, Targets

SUPERSET_CPU = "max"
"""qemu's model with all extensions that it supports: it runs the code of any target."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A CPU model of the emulator, and the features of the real CPU that it lacks."""

    cpu: str
    lacks: tuple[str, ...]
    exact: bool

    @property
    def note(self) -> str:
        if not self.exact and self.lacks:
            return (
                f"the emulator's model of this CPU lacks {', '.join(self.lacks)}, which the recipe promises: "
                "`max` runs all instructions instead"
            )
        if not self.exact:
            return "the emulator has no model of this CPU: `max` runs all instructions instead"
        if self.lacks:
            return f"the model lacks {', '.join(self.lacks)}, which real machines have"
        return "the emulator's own model of this CPU"


def model_of(target: Target, promised: Iterable[str] = ()) -> Model:
    """The emulator's model of a target, or the superset if it has none.

    The superset also replaces a model that lacks one of the extensions ``promised`` by the recipe.
    """
    if target.emulator is None:
        return Model(cpu=SUPERSET_CPU, lacks=(), exact=False)
    # The audit writes sve-bf16, Linux writes svebf16.
    lacks = {name.replace("-", "") for name in promised} & set(target.emulator.lacks)
    if lacks:
        length = f",sve-default-vector-length={target.vector_bytes}" if target.vector_bytes else ""
        return Model(cpu=f"{SUPERSET_CPU}{length}", lacks=tuple(sorted(lacks)), exact=False)
    return Model(cpu=target.emulator.cpu, lacks=target.emulator.lacks, exact=True)


def lesser_model(target: Target, targets: Targets) -> tuple[Target, Model] | None:
    """The best target below this one with a different model in the emulator; ``None`` if there is none."""
    for name in target.also_runs:
        lesser = targets[name]
        if lesser.emulator is not None and lesser.emulator.cpu != model_of(target).cpu:
            return lesser, model_of(lesser)
    return None
