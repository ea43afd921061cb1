"""From a source tree to a raw wheel: one driver a file behind one protocol.

A driver takes a :class:`~builder.model.build.Build` and gives the one wheel the package's own build made, with the
record of the flags that reached the compiler. Nothing here is portable yet; that is repair's work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from builder.model.build import Build
from builder.toolbox.toolbox import Toolbox

Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps finished and steps in all; 0 in all where that is not known."""

FINISHED = ""
"""What is being done when nothing is any more."""


class Driver(Protocol):
    """What turns a build into a raw wheel."""

    def compile(self, build: Build, toolbox: Toolbox, work: Path, progress: Progress) -> Path:
        """Build in ``work``, which may hold what a killed run left, and return the raw wheel.

        Raises:
            CompileError: the build failed or gave something other than the one wheel expected.
        """
