"""Which files are collected, and in which generation the others are served, by the journal of collections. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from index_server.model import File, Gone, TombEntry


@dataclass(frozen=True)
class Collected:
    """The state of all files as of one serial of the journal."""

    serial: int = 0
    gone: Mapping[File, Gone] = field(default_factory=dict)  # the files that are collected
    generations: Mapping[File, int] = field(default_factory=dict)  # of the files that came back

    def generation(self, file: File) -> int:
        """The generation in which a file is served, or was served last."""
        return self.generations.get(file, 0)

    def after(self, entries: Iterable[TombEntry]) -> Collected:
        """The state after further entries, the oldest first.

        An entry counts only for the generation that its writer saw. A later generation stays as it is.
        """
        serial, gone, generations = self.serial, dict(self.gone), dict(self.generations)
        for entry in entries:
            serial = entry.serial
            for tomb in entry.files:
                here, is_gone = generations.get(tomb.file, 0), tomb.file in gone
                if entry.kind == "collected" and not is_gone and tomb.generation == here:
                    gone[tomb.file] = Gone(tomb=tomb, at=entry.at)
                elif entry.kind == "restored" and is_gone and tomb.generation == here + 1:
                    generations[tomb.file] = tomb.generation
                    del gone[tomb.file]
        return Collected(serial, gone, generations)
