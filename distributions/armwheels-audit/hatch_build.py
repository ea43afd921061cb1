"""Tags the wheel for x86-64 Linux if it contains llvm-mc; auditwheel makes a manylinux tag of it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LlvmHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling passes it
        if (Path(self.root) / "armwheels_audit/llvm").is_dir():
            build_data |= {"pure_python": False, "tag": "py3-none-linux_x86_64"}
