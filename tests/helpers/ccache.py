"""What ccache counted."""

from __future__ import annotations

import subprocess
from pathlib import Path

from builder.toolbox.toolbox import Toolbox


def counted(cache: Path, toolbox: Toolbox) -> dict[str, int]:
    """What ccache counted in a cache (ccache(1), ``--print-stats``)."""
    output = subprocess.run(
        [str(toolbox.ccache()), "--print-stats"],
        env={"CCACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name: int(count) for name, _, count in (line.partition("\t") for line in output.splitlines())}
