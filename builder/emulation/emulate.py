"""The emulator's CPU models, and how each differs from the real CPU. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.targets import Target, Targets

SUPERSET_CPU = "max"
"""qemu's model with every extension it knows; it runs any target's code and refuses none."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A CPU model of the emulator and what is known of how it differs from the real CPU."""

    cpu: str
    lacks: tuple[str, ...]
    exact: bool

    @property
    def note(self) -> str:
        if not self.exact and self.lacks:
            return (
                f"the emulator's model of this CPU lacks {', '.join(self.lacks)}, which the wheel is promised to "
                "use: `max` runs everything and refuses nothing"
            )
        if not self.exact:
            return "the emulator has no model of this CPU: `max` runs everything and refuses nothing"
        if self.lacks:
            return f"the model lacks {', '.join(self.lacks)}, which real machines have"
        return "the emulator's own model of this CPU"


def model_of(target: Target, promised: Iterable[str] = ()) -> Model:
    """The emulator's model for a target; the superset, marked as such, where it has none.

    So too where the model lacks one of the extensions ``promised`` of the wheel, which real machines have.
    """
    if target.emulator is None:
        return Model(cpu=SUPERSET_CPU, lacks=(), exact=False)
    # The audit's names have a dash where Linux's have none: sve-bf16, svebf16.
    lacks = {name.replace("-", "") for name in promised} & set(target.emulator.lacks)
    if lacks:
        length = f",sve-default-vector-length={target.vector_bytes}" if target.vector_bytes else ""
        return Model(cpu=f"{SUPERSET_CPU}{length}", lacks=tuple(sorted(lacks)), exact=False)
    return Model(cpu=target.emulator.cpu, lacks=target.emulator.lacks, exact=True)


def lesser_model(target: Target, targets: Targets) -> tuple[Target, Model] | None:
    """The best target below this one whose model the emulator has and which differs; ``None`` if there is none."""
    for name in target.also_runs:
        lesser = targets[name]
        if lesser.emulator is not None and lesser.emulator.cpu != model_of(target).cpu:
            return lesser, model_of(lesser)
    return None
