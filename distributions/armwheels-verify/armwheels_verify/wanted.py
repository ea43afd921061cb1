"""Files to judge, from lock files and folders of wheels."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.pylock import Pylock, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from armwheels_verify.errors import UsageError

CHUNK = 1 << 20  # bytes
_OPTION = re.compile(r"(--?[a-z-]+)[= ]?(.*)")
# PEP 825: a label after the platform tag. PEP 427: a build tag begins with a digit, a Python tag does not.
_LABEL = re.compile(r"([^-]+-[^-]+(?:-[0-9][^-]*)?-[^0-9-][^-]*-[^-]+-[^-]+)-[0-9a-z_.]{1,16}\.whl\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Wanted:
    """One file to judge. A lock file without names of files leaves ``filename`` empty."""

    project: str
    sha256: str
    filename: str = ""
    fault: str = ""  # why it cannot be judged
    index: str = ""  # the address of the index that the lock file takes it from, if it says so


def read_wanted(path: Path) -> list[Wanted]:
    """The files that a lock file names, that a folder holds, or one wheel.

    Raises:
        UsageError: the path is none of these, or the lock file is not valid.
    """
    if path.is_dir():
        wheels = sorted(path.glob("*.whl"))
        if not wheels:
            raise UsageError(f"{path} holds no wheels")
        return [_wheel(each) for each in wheels]
    if path.suffix == ".whl":
        return [_wheel(path)]
    readers: Mapping[str, Callable[[dict[str, Any]], Iterator[Wanted]]] = {"uv.lock": _uv_lock}
    try:
        text = path.read_text(encoding="utf-8")
        if path.name in readers:
            return list(readers[path.name](tomllib.loads(text)))
        if path.suffix == ".toml":
            return list(_pylock(tomllib.loads(text)))
        return list(_requirements(text, path.parent))
    except (OSError, ValueError, KeyError, TypeError, PylockValidationError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _wheel(path: Path) -> Wanted:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    try:
        project = parse_wheel_filename(_LABEL.sub(r"\1.whl", path.name))[0]
    except InvalidWheelFilename as error:
        return Wanted("", digest.hexdigest(), path.name, fault=str(error))
    return Wanted(project, digest.hexdigest(), path.name)


def _requirements(text: str, folder: Path) -> Iterator[Wanted]:
    """``requirements.txt`` with hashes, as `pip` and `uv pip compile --generate-hashes` write it."""
    index = ""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if not line:
            continue
        if found := _OPTION.match(line):
            option, value = found.groups()
            if option in ("-i", "--index-url"):
                index = value
            elif option in ("-r", "--requirement"):
                yield from read_wanted(folder / value)
            continue
        hashes = re.findall(r"\s--hash[= ]sha256:([0-9a-zA-Z]+)", line)
        spelled = re.split(r"\s--", line, maxsplit=1)[0]
        try:
            project = canonicalize_name(Requirement(spelled).name)
        except InvalidRequirement as error:
            raise UsageError(f"{spelled!r}: {error}") from error
        if not hashes:
            yield Wanted(
                project, "", fault="the line has no --hash=sha256:…, so that any file may be installed"
            )
        for sha256 in hashes:
            yield _hashed(project, sha256, "", index)


def _uv_lock(lock: dict[str, Any]) -> Iterator[Wanted]:
    """``uv.lock``: the wheels of packages that come from an index."""
    for package in lock.get("package", []):
        project, source = canonicalize_name(package["name"]), package.get("source", {})
        if "registry" not in source:
            continue  # the project itself, a folder, or a version control system
        index = str(source["registry"])
        wheels = package.get("wheels", [])
        for wheel in wheels:
            sha256 = str(wheel.get("hash", "")).removeprefix("sha256:")
            yield _hashed(project, sha256, _name(wheel.get("url") or wheel.get("filename", "")), index)
        if not wheels:
            yield Wanted(project, "", fault="the lock file names no wheel of it", index=index)


def _pylock(document: dict[str, Any]) -> Iterator[Wanted]:
    """``pylock.toml`` (PEP 751)."""
    for package in Pylock.from_dict(document).packages:
        index = str(package.index or "")
        for wheel in package.wheels or ():
            sha256 = str(wheel.hashes.get("sha256", ""))
            yield _hashed(
                package.name,
                sha256,
                wheel.name or _name(wheel.url or str(wheel.path)),
                index or _root(wheel.url),
            )
        if not package.wheels:
            yield Wanted(package.name, "", fault="the lock file names no wheel of it", index=index)


def _hashed(project: str, sha256: str, filename: str, index: str) -> Wanted:
    fault = "" if _SHA256.match(sha256) else "the lock file has no sha256 of it"
    return Wanted(project, sha256, filename, fault, index)


def _name(url: str) -> str:
    """The file name at the end of a URL or path."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _root(url: str | None) -> str:
    """The address of an Armwheels index, by the URL of a file of it."""
    return re.sub(r"/files/[0-9a-f]{64}/[^/]+\Z", "", url or "")
