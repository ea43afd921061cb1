"""State folders and configurations of a test's own, over the shared toolbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.settings import ROOT
from builder.toolbox.toolbox import Toolbox

BIN = Path(sys.executable).parent

MATRICES = """
[tiny]
description = "one small wheel"
[[tiny.cells]]
recipe = "msgpack"
versions = ["1.2.4"]
pythons = ["cp311"]
targets = ["neoverse-v1"]
backends = ["none"]
required = true

[pair]
description = "two small wheels"
[[pair.cells]]
recipe = "msgpack"
versions = ["1.2.4"]
pythons = ["cp311"]
targets = ["neoverse-v1", "generic"]
backends = ["none"]
required = true
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A state folder and configuration of a test's own, over the shared toolbox."""

    home: Path
    configs: Path
    folder: Path | None = None
    store: Mapping[str, str] = field(
        default_factory=dict
    )  # variables that name another store than the folder

    @property
    def environment(self) -> dict[str, str]:
        dropped = ("ARMWHEELS_", "COLUMNS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        own = {"ARMWHEELS_HOME": str(self.home), "ARMWHEELS_CONFIGS": str(self.configs), "COLUMNS": "140"}
        return {**kept, **own, **self.store}

    def run(
        self, *command: str, timeout: float = 600, extra: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the two commands, with ``extra`` variables, and capture what it says."""
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            env={**self.environment, **(extra or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own. Ctrl-C stops it even where the tests ignore it."""
        return subprocess.Popen(
            ["env", "--default-signal=INT", str(BIN / command[0]), *command[1:]],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wheels(self) -> list[Path]:
        return sorted(self.home.glob("out/wheels/[0-9a-f]*/*.whl"))

    def snapshots(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.home.glob("store/snapshots/*.json"))]

    def journal(self) -> list[Path]:
        return sorted(self.home.glob("store/journal/nightly/*.json"))


def make_place(folder: Path, toolbox: Toolbox) -> Place:
    home, configs = folder / "home", folder / "configs"
    home.mkdir(parents=True)
    for shared in ("toolbox", "downloads"):
        (home / shared).symlink_to(toolbox.home / shared)
    shutil.copytree(ROOT / "configs", configs)
    with (configs / "matrices.toml").open("a", encoding="utf-8") as matrices:
        matrices.write(MATRICES)
    return Place(home=home, configs=configs)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A place whose matrix `tiny` has been published, and the address it is served at."""

    place: Place
    url: str
    output: str

    def simple(self, target: str = "neoverse-v1") -> str:
        return f"{self.url}/nightly/{target}/simple/"
