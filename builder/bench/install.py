"""Wheels to compare: PyPI's wheel of the same version, the content of a wheel, and its installation by uv."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path

from packaging.tags import Tag, create_compatible_tags_selector
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from builder.audit import open_wheel
from builder.bench.model import Library, WheelFacts
from builder.errors import ConfigError, VerifyError
from builder.model.pythons import installable_tags
from builder.toolbox.fetch import Listed, fetch_pypi, list_pypi, pip_indexes

_LIBRARY = re.compile(r"^lib[^/]*\.so(\.[0-9]+)*$")


def choose(listed: Iterable[Listed], version: str, tags: Sequence[Tag]) -> Listed | None:
    """The wheel of exactly this public version that fits ``tags`` best; ``None`` if none does. Pure."""
    tagged = []
    for file in listed:
        try:
            _, found, _, its_tags = parse_wheel_filename(file.filename)
        except InvalidWheelFilename:
            continue
        if found == Version(version):
            tagged.append((file, its_tags))
    return next(create_compatible_tags_selector(tags)(tagged), None)


def fetch_reference(project: str, version: str, tags: list[Tag], downloads: Path) -> Path | None:
    """PyPI's wheel of a version by way of pip's own index, checked against that index's sha256.

    ``None`` where it has no wheel of that version for these tags, as for a nightly.

    Raises:
        ToolboxError: the index does not answer, or the file does not match its hash.
    """
    chosen = choose(list_pypi(project), version, tags)
    if chosen is None:
        return None
    path = downloads / chosen.sha256 / chosen.filename
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch_pypi(project, chosen.filename, chosen.sha256, path)
    return path


def facts(path: Path, label: str | None = None) -> WheelFacts:
    """The facts about a wheel that need no run: sizes, libraries and target.

    Raises:
        AuditError: the file is no readable wheel.
    """
    wheel = open_wheel(path)
    target = str(wheel.passport["target"]) if wheel.passport else None
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    libraries = [
        Library(name=name, bytes=info.file_size)
        for info in members
        if _LIBRARY.match(name := info.filename.rsplit("/", 1)[-1])
    ]
    return WheelFacts(
        label=label or Version(wheel.version).local or wheel.version,
        filename=path.name,
        sha256=wheel.sha256,
        bytes=wheel.size,
        unpacked_bytes=sum(info.file_size for info in members),
        libraries=tuple(sorted(libraries, key=lambda library: (-library.bytes, library.name))),
        target=target,
    )


def python_of(path: Path, known: list[str]) -> str:
    """Which of the ``known`` CPython tags to run a wheel on: its own, else the first that may install it.

    Raises:
        ConfigError: no known Python takes it.
    """
    _, _, _, tags = parse_wheel_filename(path.name)
    platforms = sorted({tag.platform for tag in tags})
    fitting = [python for python in known if tags & set(installable_tags(python, platforms))]
    own = [python for python in fitting if any(tag.interpreter == python for tag in tags)]
    if fitting:
        return (own or fitting)[0]
    raise ConfigError(f"{path.name} is for none of the Pythons there are: {', '.join(known)}")


def install(wheel: Path, site: Path, options: list[str]) -> None:
    """Install a wheel with its dependencies into ``site`` by uv, from pip's own indexes.

    Raises:
        VerifyError: uv finds no fitting set, with its reasons.
    """
    first, *extra = pip_indexes()
    indexes = {"UV_DEFAULT_INDEX": first} if first else {}
    if others := " ".join(url for url in extra if url):
        indexes["UV_INDEX"] = others
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--link-mode", "copy"),
            *("--only-binary", ":all:", "--target", str(site), *options, str(wheel)),
        ],
        env={**os.environ, **indexes},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise VerifyError(f"{wheel.name} could not be installed: {done.stderr.strip()[-1500:]}")


def installed(site: Path) -> dict[str, str]:
    """Name and version of every distribution in ``site``."""
    found = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions(path=[str(site)])}
    return dict(sorted(found.items()))
