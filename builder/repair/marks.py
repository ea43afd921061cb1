"""Writes local version, build tag, passport, SBOM and licences into a wheel, and removes paths of this machine."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from auditwheel.wheeltools import InWheelCtx, add_platforms

from builder.audit import observed_flags
from builder.errors import RepairError
from builder.model.build import Build
from builder.repair.grafts import find_grafts
from builder.repair.passport import make_passport
from builder.repair.sbom import make_sbom
from builder.toolbox.toolbox import Toolbox

SBOM = "sboms/armwheels.cdx.json"
PASSPORT = "armwheels.json"
_PLACE = b"/armwheels"


def mark(
    build: Build, middle: Path, platforms: list[str], toolbox: Toolbox, work: Path, finished: Path
) -> None:
    """Write version, build tag, passport, SBOM and licences into the wheel; pack it under its final name.

    Raises:
        RepairError: a graft has no licence text, or a binary contains the path of a build folder.
    """
    observed = observed_flags(middle)
    with InWheelCtx(middle) as wheel:
        wheel.out_wheel = finished / middle.name
        if not any(platform in middle.name for platform in platforms):
            add_platforms(wheel, platforms, ["linux_aarch64"])
        root = Path(wheel.path)
        project = build.recipe.project.replace("-", "_")
        info = rename_info(root, project, build.full_version, build.build_tag)
        _scrub(root, [str(work), str(toolbox.home)])
        grafts = find_grafts(build, root, toolbox, work)
        for path, graft in grafts.items():
            if not graft.texts:
                raise RepairError(f"{path} was grafted from {graft.name}, which has no licence text")
            folder = info / "licenses" / graft.name
            folder.mkdir(parents=True, exist_ok=True)
            for text in graft.texts:
                shutil.copyfile(text, folder / text.name)
        passport = make_passport(build, observed, toolbox)
        (info / PASSPORT).write_text(json.dumps(passport, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        sboms = info / "sboms"
        sboms.mkdir(exist_ok=True)
        # auditwheel looks up grafts in this machine's package database, which does not have the target's packages.
        (sboms / "auditwheel.cdx.json").unlink(missing_ok=True)
        (info / SBOM).write_text(make_sbom(build, root, grafts) + "\n", encoding="utf-8")
        settle_modes(root)
        tags = wheel.out_wheel.name.removesuffix(".whl").split("-")[-3:]
        stem = f"{project}-{build.full_version}-{build.build_tag}"
        wheel.out_wheel = finished / f"{stem}-{'-'.join(tags)}.whl"


def rename_info(root: Path, project: str, full_version: str, build_tag: str) -> Path:
    """Write the version and the build tag into dist-info, METADATA and WHEEL (binary distribution format).

    Raises:
        RepairError: METADATA does not state one version.
    """
    [before] = root.glob("*.dist-info")
    info = root / f"{project}-{full_version}.dist-info"
    before.rename(info)
    for data in root.glob("*.data"):
        data.rename(root / f"{info.name.removesuffix('.dist-info')}.data")
    metadata = info / "METADATA"
    head, body = _split_head(metadata.read_text(encoding="utf-8"))
    if head.count("\nVersion: ") + head.startswith("Version: ") != 1:
        raise RepairError("METADATA has no single Version field")
    head = re.sub(r"^Version: .*$", f"Version: {full_version}", head, flags=re.MULTILINE)
    metadata.write_text(head + body, encoding="utf-8")
    wheel = info / "WHEEL"
    lines = [
        line for line in wheel.read_text(encoding="utf-8").splitlines() if not line.startswith("Build: ")
    ]
    place = next((n for n, line in enumerate(lines) if line.startswith("Root-Is-Purelib:")), len(lines) - 1)
    lines.insert(place + 1, f"Build: {build_tag}")
    wheel.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")
    return info


def _split_head(text: str) -> tuple[str, str]:
    """The header fields of a METADATA file, and its body with the empty line before."""
    head, separator, body = text.partition("\n\n")
    return head, separator + body


def _scrub(root: Path, folders: Sequence[str]) -> None:
    """Replace the paths of build folders in text files, so that a wheel does not depend on them.

    Some packages write their build settings into Python files.

    Raises:
        RepairError: a binary file contains such a path.
    """
    needles = [folder.encode() for folder in folders]
    leaks = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        if not any(needle in data for needle in needles):
            continue
        if b"\0" in data:
            leaks.append(path.relative_to(root).as_posix())
            continue
        for needle in needles:
            data = data.replace(needle, _PLACE)
        path.write_bytes(data)
    if leaks:
        raise RepairError(f"the path of a build folder is compiled into {', '.join(leaks)}")


def settle_modes(root: Path) -> None:
    """Make file modes independent of the umask, since they are part of the archive's bytes."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        elif not path.is_symlink():
            program = path.stat().st_mode & 0o100
            path.chmod(0o755 if program else 0o644)
