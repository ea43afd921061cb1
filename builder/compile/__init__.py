"""From a source tree to a raw wheel, by the package's own build; one driver for each kind of build system.

A raw wheel has the tag ``linux_aarch64``: repair makes it portable.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from builder.model.build import Build
from builder.toolbox.toolbox import Toolbox

Progress = Callable[[str, int, int], None]
"""Called with the name of the activity, the steps finished and the number of steps, which is 0 if unknown."""

FINISHED = ""
"""The name of the activity once the build has ended."""


class Driver(Protocol):
    """Makes the raw wheel of a build."""

    def compile(self, build: Build, toolbox: Toolbox, work: Path, progress: Progress) -> Path:
        """Build in the folder ``work``, which may contain the files of a killed run; returns the raw wheel.

        Raises:
            CompileError: the build failed, or made something other than the expected wheel.
        """
