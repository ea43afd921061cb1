"""Resolves the dependencies of projects with uv, from this index first and from an upstream index otherwise.

The upstream index is the one that pip is configured with on this machine, or uv's default.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags, create_compatible_tags_selector
from packaging.utils import parse_wheel_filename

from index_server.errors import ConfigError, ResolveError
from index_server.model import stamp

GLIBC = 28  # of glibc 2.28, on which most wheels of our recipes run
OLDEST_GLIBC = 17  # of glibc 2.17 (manylinux2014, PEP 599), the oldest for aarch64
UV = Path(sys.executable).parent / "uv"


@dataclass(frozen=True)
class Upstream:
    """The upstream indexes."""

    default: str | None  # URL; None for uv's default
    extra: tuple[str, ...] = ()  # URLs
    cert: str | None = None  # file of CA certificates


@dataclass(frozen=True)
class Wanted:
    """A wheel that uv chose."""

    project: str
    version: str
    filename: str
    url: str
    sha256: str
    size: int | None
    uploaded_at: str | None = None  # as upstream states it (PEP 700), or None
    via: str = ""  # the projects and files that require it, in uv's words


def upstream_of_pip() -> Upstream:
    """Return the indexes that ``pip install`` uses on this machine.

    Raises:
        ConfigError: pip cannot read its own configuration.
    """
    settings = pip_settings()
    extra = [url for url in settings.get("extra-index-url", "").split() if url.startswith("http")]
    return Upstream(settings.get("index-url"), tuple(extra), settings.get("cert"))


def pip_settings() -> dict[str, str]:
    """Return the options of ``pip install`` from configuration files and environment variables, by name.

    ``pip config list`` prints each value as a Python literal. For an option in several files, it prints all values
    in no useful order, so ``pip config get`` returns the effective one. A later section overrides an earlier one
    (pip's user guide, "Configuration").

    Raises:
        ConfigError: pip cannot read its own configuration.
    """
    listed: dict[str, list[str]] = {}
    for line in _pip_config("list").splitlines():
        key, _, literal = line.partition("=")
        listed.setdefault(key, []).append(str(ast.literal_eval(literal)))
    settings: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):
        for key, values in listed.items():
            if key.startswith(section):
                value = values[0] if len(values) == 1 else _pip_config("get", key).removesuffix("\n")
                if value:  # pip ignores empty values, too
                    settings[key.removeprefix(section)] = value
    return settings


def _pip_config(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"pip cannot read its configuration: {done.stderr.strip()}")
    return done.stdout


def closure(
    projects: Sequence[str],
    requirements: Sequence[Path],
    *,
    python: str,
    ours: str,
    upstream: Upstream,
    glibc: int = GLIBC,
) -> list[Wanted]:
    """Return the wheels that ``projects`` and requirement files need on aarch64 Linux with glibc 2.``glibc``.

    ``python`` is a tag such as ``cp311``. ``ours`` is the URL of the first index. With uv's ``first-index``
    strategy, a project on that index is taken from no other.

    Raises:
        ResolveError: there is no such set of wheels; the error has uv's message.
    """
    version = python_version(python)
    world = f"{python} on aarch64 with glibc 2.{glibc}"
    with tempfile.TemporaryDirectory() as folder:
        asked, answer, why = (Path(folder, name) for name in ("asked.in", "pylock.toml", "why.txt"))
        asked.write_text("".join(f"{project}\n" for project in projects), encoding="utf-8")
        command = [
            *(str(UV), "--no-config", "--no-progress", "pip", "compile", "--quiet"),
            *("--cache-dir", f"{folder}/cache", "--no-header"),
            *("--python-platform", f"aarch64-manylinux_2_{glibc}", "--python-version", version),
            *("--only-binary", ":all:", "--index-strategy", "first-index", "--index", ours),
            *(part for url in upstream.extra for part in ("--index", url)),
            *(("--default-index", upstream.default) if upstream.default else ()),
            *(str(path) for path in (asked, *requirements)),
        ]
        environment = _environment(upstream)
        lock = ("--format", "pylock.toml", "--output-file", answer, "--generate-hashes")
        _uv([*command, *lock], environment, world)
        # Run again, from the cache, since a lock file does not state which project requires which.
        _uv([*command, "--annotation-style", "line", "--output-file", why], environment, world)
        locked = tomllib.loads(answer.read_text(encoding="utf-8"))
        via = _vias(why.read_text(encoding="utf-8"), {str(asked): "the command line"})
    return [_wanted(package, python, glibc, via) for package in locked.get("packages", [])]


def _uv(command: Sequence[str | Path], environment: Mapping[str, str], world: str) -> None:
    """Run uv.

    Raises:
        ResolveError: uv finds no set of wheels. The message names the environment, which is ``world``.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise ResolveError(f"uv found no set of wheels for {world}:\n{done.stderr.strip()}")


def _vias(text: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return what requires each project, from uv's annotated output (``name==1  # via other, -r file``).

    ``names`` maps paths of requirements files to the names that replace them.
    """
    found = {}
    for line in text.splitlines():
        pinned, _, via = line.partition("# via ")
        for path, name in names.items():
            via = via.replace(f"-r {path}", name)
        found[pinned.partition("==")[0].strip()] = via.strip()
    return found


def python_version(tag: str) -> str:
    """Return the version of a CPython tag: ``3.11`` for ``cp311``.

    Raises:
        ConfigError: the tag is not one of CPython 3.
    """
    if not tag.startswith("cp3") or not tag[3:].isdigit():
        raise ConfigError(f"{tag!r} is not a CPython tag; write one as in wheel tags, such as cp311")
    return f"3.{tag[3:]}"


def _environment(upstream: Upstream) -> dict[str, str]:
    """Return this process's environment without variables that would add indexes or change their order."""
    dropped = (
        "UV_INDEX",
        "UV_EXTRA",
        "UV_FIND",
        "UV_NO_INDEX",
        "UV_INDEX_STRATEGY",
        "UV_CONFIG",
        "UV_PRERELEASE",
    )
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(dropped)
        or name == "UV_INDEX_URL"  # it replaces the default index, as pip's does
    }
    if upstream.cert and "SSL_CERT_FILE" not in kept:
        kept["SSL_CERT_FILE"] = upstream.cert
    hosts = ",".join(filter(None, (kept.get("NO_PROXY") or kept.get("no_proxy"), "127.0.0.1")))
    return kept | {"NO_PROXY": hosts, "no_proxy": hosts}


def _wanted(package: Mapping[str, Any], python: str, glibc: int, vias: Mapping[str, str]) -> Wanted:
    """Return the best wheel of a locked package (PEP 751).

    Raises:
        ResolveError: the package has no fitting wheel, or the index states no sha256 for it.
    """
    name, version = str(package["name"]), str(package.get("version", ""))
    wheels = {_filename(wheel): wheel for wheel in package.get("wheels", [])}
    best = best_wheel(wheels, python, glibc)
    if best is None:
        seen = ", ".join(sorted(wheels)) or "no wheel at all"
        raise ResolveError(f"{name} {version} has no wheel for {python} on aarch64; it has {seen}")
    wheel = wheels[best]
    sha256 = wheel.get("hashes", {}).get("sha256")
    if not sha256:
        raise ResolveError(f"{best}: the index states no sha256, so that the file cannot be verified")
    uploaded = wheel.get("upload-time")
    return Wanted(
        name,
        version,
        best,
        url=str(wheel["url"]),
        sha256=str(sha256),
        size=wheel.get("size"),
        uploaded_at=stamp(uploaded) if isinstance(uploaded, datetime) else None,
        via=vias.get(name, ""),
    )


def best_wheel(filenames: Iterable[str], python: str, glibc: int = GLIBC) -> str | None:
    """Return the wheel of one version that installers choose: best tag (PEP 425), then highest build number."""
    select = create_compatible_tags_selector(tags(python, glibc))
    parsed = [(parse_wheel_filename(filename), filename) for filename in filenames]
    parsed.sort(key=lambda each: (each[0][2], each[1]), reverse=True)
    return next(select((filename, parts[3]) for parts, filename in parsed), None)


@cache
def tags(python: str, glibc: int) -> tuple[Tag, ...]:
    """Return all tags that a CPython supports on aarch64 Linux with glibc 2.``glibc``, the best first."""
    version = (3, int(python_version(python).partition(".")[2]))
    platforms = []
    for minor in range(glibc, OLDEST_GLIBC - 1, -1):
        platforms.append(f"manylinux_2_{minor}_aarch64")
        if minor == OLDEST_GLIBC:
            platforms.append("manylinux2014_aarch64")
    platforms.append("linux_aarch64")
    return (
        *cpython_tags(version, [python], platforms),
        *compatible_tags(version, python, platforms),
    )


def _filename(wheel: Mapping[str, Any]) -> str:
    return str(wheel.get("name") or unquote(PurePosixPath(urlsplit(str(wheel["url"])).path).name))
