"""``configs/channels.toml``: the channels of the index, their gates and retention. Frozen data.

The index server enforces these rules. The builder reads the file to refuse one with faults.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from builder.model.base import Config, Name

EVIDENCE_KINDS = ("audit", "emulation", "bench")
"""Kinds of evidence that the builder publishes. Others may add kinds of their own."""


class Gates(Config):
    """What a snapshot must have before the channel may point at it."""

    sources: Annotated[tuple[Name, ...], Field(alias="from")] = ()
    """Channels, one of which must have shown the snapshot."""
    required: tuple[Name, ...] = ()
    """Matrices of ``matrices.toml`` whose cells marked ``required`` must be in the snapshot."""
    evidence: tuple[Name, ...] = ()
    """Kinds of evidence that every wheel with a passport must have passed, such as ``audit``."""
    approvals: Annotated[int, Field(ge=0)] = 0
    """Number of people who must approve, not counting the one who moves the channel."""


class Channel(Config):
    """One table of ``configs/channels.toml``: a named sequence of moves, each to a snapshot."""

    description: str
    """One line about the channel, shown on its pages."""
    retention_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    """Days to keep files after the channel left them; without this key they are kept forever."""
    dev_versions: Annotated[int, Field(ge=1)] | None = None
    """Number of the newest development versions (PEP 440 ``.devN``) of a project that the channel lists."""
    dev_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days for which the channel lists a development version after its last upload, besides the newest ones."""
    gates: Gates | None = None
    """Conditions of a move; without this table the channel takes every snapshot."""
