"""The wheels of an image: which ones a snapshot has for it, and their installation without running Arm code."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import installer
from installer.destinations import SchemeDictionaryDestination
from installer.exceptions import InstallerError
from installer.sources import WheelFile
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from builder.audit.archive import open_wheel
from builder.emulation.install import glibc_of
from builder.errors import PublishError
from builder.index.client import Index, SnapshotContent
from builder.model.base import Frozen, Sha256
from builder.model.pythons import installable_tags, program_of, version_of
from builder.targets import Target
from builder.toolbox.fetch import uv_environment
from builder.toolbox.toolbox import Toolbox

_OLDEST_GLIBC = 17
"""The first release with wheels for aarch64 is 2.17 (:pep:`599`)."""


class Chosen(Frozen):
    """A wheel of the image, on disk; ``passport`` if it is tuned."""

    project: str
    version: str
    filename: str
    sha256: Sha256
    path: Path
    passport: dict[str, Any] | None

    @property
    def pinned(self) -> str:
        """The line of a requirements file that names exactly this file (pip's user guide, "Hash-checking mode")."""
        return f"{self.project}=={self.version} --hash=sha256:{self.sha256}"


def choose_wheels(
    index: Index,
    snapshot: SnapshotContent,
    target: Target,
    tag: str,
    projects: Sequence[str],
    toolbox: Toolbox,
) -> tuple[Chosen, ...]:
    """The wheels of a snapshot that ``projects`` (requirements of :pep:`508`) need on a target, sorted by name.

    uv resolves on the pages of the snapshot alone, with the environment markers of arm64 Linux, so that the answer
    is always the same.

    Raises:
        PublishError: the snapshot lacks a project that is needed.
    """
    hashes = _resolve(index.pages(snapshot.id, target.name), tag, projects, toolbox)
    files = {file.filename: file.sha256 for file in snapshot.files}
    chosen = []
    for project, known in sorted(hashes.items()):
        filename = best_file(project, known, files, tag, glibc_of(toolbox, tag))
        path = index.fetch(filename, files[filename], toolbox.home / "downloads")
        opened = open_wheel(path)
        one = Chosen(
            project=project,
            version=opened.version,
            filename=filename,
            sha256=files[filename],
            path=path,
            passport=opened.passport,
        )
        chosen.append(one)
    return tuple(chosen)


def best_file(
    project: str, hashes: frozenset[str], files: Mapping[str, str], tag: str, glibc_minor: int
) -> str:
    """The file that installs best on ``tag`` among those of a snapshot with one of the hashes. Pure.

    Raises:
        PublishError: there is none.
    """
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(glibc_minor, _OLDEST_GLIBC - 1, -1)]
    order = {one: place for place, one in enumerate(installable_tags(tag, [*platforms, "linux_aarch64"]))}
    ranked = []
    for filename, sha256 in files.items():
        if sha256 not in hashes:
            continue
        try:
            name, _, _, tags = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            continue
        places = [order[one] for one in tags if one in order]
        if name == canonicalize_name(project) and places:
            ranked.append((min(places), filename))
    if not ranked:
        raise PublishError(f"the snapshot has no wheel of {project} that installs on {tag} for arm64")
    return min(ranked)[1]


def _resolve(pages: str, tag: str, projects: Sequence[str], toolbox: Toolbox) -> dict[str, frozenset[str]]:
    """The sha256 of each file of the projects that uv chooses; ``pages`` is the simple index, with its token."""
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "requirements.in"
        wanted.write_text("\n".join(projects) + "\n", encoding="utf-8")
        done = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--no-config"),
                *("--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"),
                *("--only-binary", ":all:", "--python-version", version_of(tag), "--no-cache"),
                *("--python-platform", f"aarch64-manylinux_2_{glibc_of(toolbox, tag)}"),
                *("--python", str(toolbox.build_python(tag)), str(wanted)),
            ],
            # Other indexes would give another answer tomorrow. A variable, since everybody reads a command line.
            env={**uv_environment(), "UV_DEFAULT_INDEX": pages, "UV_INDEX": "", "UV_EXTRA_INDEX_URL": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        told = done.stderr.strip().replace(pages, "the snapshot's pages")
        raise PublishError(
            f"the snapshot does not have all that {', '.join(projects)} needs:\n{told[-1500:]}\n"
            "`armwheels-index mirror` adds what a channel lacks"
        )
    return parse_hashes(done.stdout)


def parse_hashes(requirements: str) -> dict[str, frozenset[str]]:
    """The sha256 of each project in a requirements file with hashes, by normalized name. Pure."""
    found: dict[str, frozenset[str]] = {}
    for entry in requirements.replace("\\\n", " ").splitlines():
        text, _, options = entry.partition("--hash")
        if text.strip():
            name = canonicalize_name(Requirement(text.strip()).name)
            found[name] = frozenset(re.findall(r"sha256:([0-9a-f]{64})", options))
    return found


def install_wheel(wheel: Path, root: Path, tag: str) -> None:
    """Install a wheel below ``root``, where Debian's Python looks for what an administrator adds.

    Raises:
        PublishError: it is no sound wheel.
    """
    program = program_of(tag)
    site = f"/usr/local/lib/{program}/dist-packages"
    project = wheel.name.partition("-")[0]
    schemes = {
        "purelib": site,
        "platlib": site,
        "headers": f"/usr/local/include/{program}/{project}",
        "scripts": "/usr/local/bin",
        "data": "/usr/local",
    }
    destination = SchemeDictionaryDestination(
        schemes, interpreter=f"/usr/bin/{program}", script_kind="posix", destdir=str(root)
    )
    try:
        with WheelFile.open(wheel) as source:
            installer.install(source, destination, additional_metadata={"INSTALLER": b"armwheels\n"})
    except (ValueError, zipfile.BadZipFile, InstallerError) as error:
        raise PublishError(f"{wheel.name} cannot be installed: {error}") from error
    for script in (root / "usr/local/bin").glob("*"):  # as pip does, whatever the wheel says of their modes
        script.chmod(0o755)


def write_bytecode(root: Path, tag: str, toolbox: Toolbox) -> None:
    """Compile all modules below ``root`` with this machine's CPython of the same version, to always the same bytes.

    Bytecode is the same on every CPU. It is never checked against its source (:pep:`552`, "unchecked hash"), since
    both are in the same image. Files that are not valid for this version stay as they are.
    """
    subprocess.run(
        [
            *(str(toolbox.build_python(tag)), "-m", "compileall", "-q", "-s", str(root), "-p", "/"),
            *("--invalidation-mode", "unchecked-hash", str(root / "usr")),
        ],
        env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
    )
