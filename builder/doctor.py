"""Checks the host, the mirrors and the toolbox, and says how to fix what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from builder.compile import container
from builder.emulation.environment import EmulatedPython
from builder.errors import ToolboxError
from builder.toolbox.fetch import APT_HELPER
from builder.toolbox.toolbox import Toolbox

_DISK_NEEDED = 6e9
"""Bytes for the toolbox, two work folders of NumPy and the store, with a reserve."""


@dataclass(frozen=True, kw_only=True)
class HostCheck:
    """The result of one check; ``fault`` says how to fix it and is empty if all is well."""

    name: str
    detail: str
    fault: str = ""


def examine(toolbox: Toolbox, parts: list[str]) -> list[HostCheck]:
    """Check the host, the mirrors and each part of the toolbox."""
    return [*_host(toolbox, parts), *(_part(toolbox, part) for part in parts), *_emulation(toolbox, parts)]


def _host(toolbox: Toolbox, parts: list[str]) -> list[HostCheck]:
    machine = platform.machine()
    findings = [
        HostCheck(
            name="machine",
            detail=f"{machine}, {len(os.sched_getaffinity(0))} processors, "
            f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
            fault="" if machine in ("x86_64", "aarch64") else "builds run on x86-64 or arm64 hosts",
        )
    ]
    folder = next(folder for folder in (toolbox.home, *toolbox.home.parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    needed = free < _DISK_NEEDED and not all(toolbox.has(part) for part in parts)
    findings.append(
        HostCheck(
            name="disk",
            detail=f"{free / 1e9:.0f} GB free for {toolbox.home.name}/",
            fault="make room, or set ARMWHEELS_HOME to a folder with 6 GB free" if needed else "",
        )
    )
    if " " in str(toolbox.home):
        findings.append(
            HostCheck(
                name="path",
                detail=str(toolbox.home),
                fault="compilers and pkg-config split paths at spaces: use a folder without one",
            )
        )
    for tool, wanted in (("dpkg-deb", "dpkg"), ("git", "git"), ("tar", "tar")):
        found = shutil.which(tool)
        findings.append(
            HostCheck(name=tool, detail=found or "not found", fault="" if found else f"install {wanted}")
        )
    findings.append(
        HostCheck(
            name="apt-helper",
            detail=str(APT_HELPER) if APT_HELPER.exists() else "not found",
            fault="" if APT_HELPER.exists() else "Armwheels fetches through apt: use Debian 12 or 13",
        )
    )
    try:
        bases = toolbox.mirror.bases
        findings.append(HostCheck(name="Debian mirror", detail=f"{len(bases)} configured"))
    except ToolboxError as error:
        findings.append(HostCheck(name="Debian mirror", detail="none", fault=str(error)))
    return findings


def _part(toolbox: Toolbox, part: str) -> HostCheck:
    files = len(toolbox.pins.files(part))
    if toolbox.has(part):
        return HostCheck(name=part, detail=f"{files} pinned files, unpacked")
    return HostCheck(
        name=part, detail=f"{files} pinned files, not fetched", fault="run `armwheels doctor --fix`"
    )


def _emulation(toolbox: Toolbox, parts: list[str]) -> list[HostCheck]:
    """Run an arm64 Python under emulation; skipped while a part that it needs is missing."""
    userlands = [part for part in parts if part.startswith("userland-")]
    if not toolbox.has("qemu") or not all(toolbox.has(part) for part in [*userlands, "pip"]):
        return []
    findings = []
    for part in userlands:
        tag = part.removeprefix("userland-")
        done = EmulatedPython(toolbox, tag, "max").run(["-c", "import platform; print(platform.machine())"])
        works = done.stdout.strip() == "aarch64"
        error = done.stderr.strip()[-200:]
        findings.append(
            HostCheck(
                name=f"emulated {tag}",
                detail="runs, by an explicit emulator command" if works else error or "does not run",
                fault="" if works else f"delete {toolbox.path(part)} and run `armwheels doctor --fix`",
            )
        )
    reason = container.why_not()
    findings.append(
        HostCheck(name="containers", detail=f"not run: {reason}" if reason else "by cibuildwheel")
    )
    registered = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()
    findings.append(
        HostCheck(name="binfmt_misc", detail="aarch64 registered, not used" if registered else "not used")
    )
    return findings


def draw(findings: list[HostCheck]) -> RenderableType:
    """The checks as a table, with faults in red."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        mark = Text("ok", style="green") if not finding.fault else Text("!!", style="bold red")
        table.add_row(mark, finding.name, Text(finding.detail), Text(finding.fault, style="red"))
    return table
