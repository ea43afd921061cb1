"""The emulator's CPU models, and how they stand in for servers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.model.server import Server
from builder.targets import Target, Targets

SUPERSET_CPU = "max"
"""qemu's model with all extensions that it supports: it runs the code of any target."""
PLUGIN_MODELS = frozenset({"a64fx", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1"})
"""The models of the part ``qemu-plugins``, which is older than those of Neoverse V1 and N2."""


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """What the emulator runs in place of a server: a CPU model, with the server's part number and vector length."""

    server: Server
    cpu: str
    """The emulator's option ``-cpu``."""
    vector_bits: int
    note: str

    def described(self, lacks: Iterable[str] = ()) -> str:
        """The server, the model, and the features of the server that the model lacks."""
        missing = " ".join(sorted(lacks))
        shown = f"programs see {self.server.description}"
        return f"{self.note}; {shown}" + (f" without {missing}, which the emulator lacks" if missing else "")


def stand_in(target: Target, *, models: frozenset[str] | None = None) -> StandIn:
    """Return the stand-in for the server of a target; ``models`` limits the emulator's models.

    Without a model of the CPU, it is the superset. The part number and the length of SVE vectors are given in every
    case: no server has the superset's, and the length determines the count of every SVE loop.
    """
    emulator = target.emulator
    options = [f"midr=0x{target.server.midr:08x}"]
    if target.vector_bytes:
        options.append(f"sve-default-vector-length={target.vector_bytes}")
    if emulator is not None and (models is None or emulator.cpu in models):
        cpu = emulator.cpu
        note = (
            f"the emulator's model {cpu}, the nearest to this CPU"
            if emulator.nearest
            else "the emulator's own model of this CPU"
        )
    else:
        cpu = SUPERSET_CPU
        options.append("sme=off")
        options += [] if target.vector_bytes else ["sve=off"]
        options += [] if "paca" in target.server.flags else ["pauth=off"]
        note = "the emulator has no model of this CPU: `max` runs all instructions instead"
    return StandIn(
        server=target.server, cpu=",".join((cpu, *options)), vector_bits=target.sve_bits, note=note
    )


def lesser_stand_in(target: Target, targets: Targets) -> tuple[Target, StandIn] | None:
    """The best target below this one with a different model in the emulator; ``None`` if there is none."""
    own = target.emulator.cpu if target.emulator is not None else None
    for name in target.also_runs:
        lesser = targets[name]
        if lesser.emulator is not None and lesser.emulator.cpu != own:
            return lesser, stand_in(lesser)
    return None
