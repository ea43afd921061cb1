"""Writes the lock files anew: the toolbox by signed Debian indices and pip, requirements by uv, commits by git."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from email.parser import Parser
from pathlib import Path
from typing import Literal

from builder.errors import ConfigError, ToolboxError
from builder.locks import followed_lock, requirements_lock
from builder.model.matrix import Matrix
from builder.model.pythons import version_of
from builder.model.recipe import Recipe
from builder.model.toolchains import PyPITool, Toolchains
from builder.settings import configs_dir, nearest
from builder.source import pin_followed
from builder.toolbox.fetch import Mirror, resolve_pypi, uv_environment
from builder.toolbox.pins import (
    ON_ARM64,
    Parts,
    PinnedFile,
    Pins,
    asked_of,
    debian_parts,
    wheels_for_arm64,
)
from builder.whole import write_text

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
Report = Callable[[str], None]


def refresh_toolchains(
    toolchains: Toolchains,
    home: Path,
    report: Report,
    *,
    only: tuple[str, ...] = (),
    kept: Pins | None = None,
) -> Pins:
    """Resolve the parts of the toolbox, or those of ``only``, to the files that exist now; returns the new pins.

    ``kept`` are the pins of all other parts. Signed indices of the mirror name Debian's packages, pip names wheels.

    Raises:
        ToolboxError: with every package that no index has, or every name in ``only`` that is not a part.
    """
    debian = debian_parts(toolchains)
    wheels = {name: tool for name, tool in toolchains.tools.items() if isinstance(tool, PyPITool)}
    native = {f"{name}{ON_ARM64}": wheels[name] for name in wheels_for_arm64(toolchains)}
    known = {*debian, *wheels, *native}
    if strange := sorted(set(only) - known):
        near = [f"no part '{name}'; {nearest(name, known)}".removesuffix("; ") for name in strange]
        raise ToolboxError("\n".join([*near, f"there are {', '.join(sorted(known))}"]))
    pinned: dict[str, tuple[PinnedFile, ...]] = dict(kept.parts) if kept and only else {}
    by_suite: dict[str, dict[str, Parts]] = {}
    for name, suites in debian.items():
        if not only or name in only:
            pinned[name] = ()
            for part in suites:
                by_suite.setdefault(part.suite, {})[name] = part
    faults: list[str] = []
    for suite, parts in by_suite.items():
        report(f"reading the signed indices of {suite}")
        apt = PrivateApt(home / "apt" / suite, suite, Mirror())
        apt.update()
        for name, part in parts.items():
            files, missing = apt.show(part.packages, part.architecture)
            if part.installed is not None and not missing:
                names = apt.closure(part.packages, part.architecture, part.installed)
                files, missing = apt.show(names, part.architecture)
            faults += [f"{name}: {suite} has no package {one} for {part.architecture}" for one in missing]
            pinned[name] += files
    for name, tool in {**wheels, **native}.items():
        if not only or name in only:
            report(f"asking pip about {', '.join(tool.requirements)}")
            found = resolve_pypi(tool.requirements, arm64=name in native)
            pinned[name] = tuple(_pypi_pin(entry) for entry in found)
    if faults:
        raise ToolboxError("\n".join(faults))
    asked = dict(kept.asked) if kept and only else {}
    asked |= {name: said for name, said in asked_of(toolchains).items() if not only or name in only}
    return Pins(parts=dict(sorted(pinned.items())), asked=dict(sorted(asked.items())))


def write_pins(pins: Pins) -> Path:
    """Replace ``configs/toolchains.lock``."""
    path = configs_dir() / "toolchains.lock"
    write_text(path, json.dumps(pins.model_dump(mode="json"), indent=1) + "\n")
    return path


class PrivateApt:
    """apt with its own lists and settings: it needs no root and changes nothing of this machine's apt."""

    def __init__(
        self, folder: Path, suite: str, mirror: Mirror, *, kind: Literal["deb", "deb-src"] = "deb"
    ) -> None:
        self.suite = suite
        for name in ("state/lists/partial", "cache/archives/partial", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "state/status").touch()
        (folder / "etc/sources.list").write_text(
            f"{kind} [arch=amd64,arm64 signed-by={KEYRING}] {mirror.bases[0]} {suite} main\n",
            encoding="utf-8",
        )
        self._config = folder / "apt.conf"
        self._config.write_text(
            f'Dir::State "{folder}/state";\nDir::State::status "{folder}/state/status";\n'
            f'Dir::Cache "{folder}/cache";\nDir::Etc::sourcelist "{folder}/etc/sources.list";\n'
            'Dir::Etc::sourceparts "-";\nAPT::Architecture "amd64";\n'
            'APT::Architectures { "amd64"; "arm64"; };\nAPT::Sandbox::User "";\nAcquire::Languages "none";\n',
            encoding="utf-8",
        )

    def update(self) -> None:
        """Fetch the suite's indices; apt checks their signatures against Debian's keyring."""
        self._run("apt-get", "update", "--quiet", "--error-on=any")

    def show(self, packages: tuple[str, ...], architecture: str) -> tuple[tuple[PinnedFile, ...], list[str]]:
        """The newest version of each package in the suite, and the names of packages that it lacks.

        This is one call of apt for all packages, since each call reads the whole index.
        """
        names = [f"{package}:{found}" for package in packages for found in (architecture, "all")]
        text = self._run("apt-cache", "show", "--no-all-versions", *names) if names else ""
        known: dict[str, PinnedFile] = {}
        for stanza in text.split("\n\n"):
            fields = Parser().parsestr(stanza.strip() + "\n")
            if fields["Architecture"] in (architecture, "all"):
                known[fields["Package"]] = PinnedFile(
                    name=fields["Package"],
                    version=fields["Version"],
                    sha256=fields["SHA256"],
                    size=int(fields["Size"]),
                    path=fields["Filename"],
                )
        missing = [package for package in packages if package not in known]
        return tuple(known[package] for package in packages if package in known), missing

    def source(self, package: str) -> str:
        """What the indices of source packages say of one, in Debian's control format (deb822(5))."""
        return self._run("apt-cache", "showsrc", "--only-source", package)

    def closure(
        self, packages: tuple[str, ...], architecture: str, installed: tuple[str, ...]
    ) -> tuple[str, ...]:
        """``packages`` and, sorted behind them, all that they need and ``installed`` does not provide.

        apt's own solver answers, for a system that has ``installed`` alone (apt-get(8), ``--simulate``).
        """
        status = self._config.with_name(f"status-{architecture}")
        text = self._run(
            "apt-cache", "show", "--no-all-versions", *(f"{one}:{architecture}" for one in installed)
        )
        status.write_text("\n".join(map(_as_installed, text.strip().split("\n\n"))), encoding="utf-8")
        answer = self._run(
            *("apt-get", "install", "--simulate", "--no-install-recommends"),
            *("-o", f"APT::Architecture={architecture}", "-o", f"Dir::State::status={status}"),
            *packages,
        )
        found = {line.split()[1] for line in answer.splitlines() if line.startswith("Inst ")}
        return (*packages, *sorted(found - set(packages)))

    def _run(self, *command: str) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise ToolboxError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return done.stdout


def compare_debian(one: str, other: str) -> int:
    """-1, 0 or 1: how dpkg orders two versions of Debian packages (deb-version(7))."""
    if one == other:
        return 0
    done = subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False)
    return -1 if done.returncode == 0 else 1


def _as_installed(stanza: str) -> str:
    """A package's entry in dpkg's list of what is installed (dpkg(1)), without what it depends on in turn."""
    fields = Parser().parsestr(stanza.strip() + "\n")
    kept = ("Package", "Architecture", "Version", "Multi-Arch", "Provides")
    lines = [f"{name}: {fields[name]}" for name in kept if fields[name]]
    return "\n".join([*lines, "Status: install ok installed", ""])


def _pypi_pin(entry: dict[str, dict[str, object]]) -> PinnedFile:
    download = entry["download_info"]
    archive = download["archive_info"]
    if not isinstance(archive, dict):
        raise ToolboxError(f"pip's report has no hash for {download['url']}")
    return PinnedFile(
        name=str(entry["metadata"]["name"]),
        version=str(entry["metadata"]["version"]),
        sha256=str(archive["hashes"]["sha256"]),
        path=str(download["url"]).rsplit("/", 1)[-1].partition("#")[0],
    )


def refresh_followed(recipe: Recipe, report: Report) -> Path | None:
    """Pin the current commits of the branches and tags that a recipe follows; ``None`` if it follows none.

    Raises:
        SourceError: a repository does not answer, or lacks the branch, tag or file. Nothing is written then.
    """
    if not recipe.follows:
        return None
    followed = {}
    for name, follow in recipe.follows.items():
        report(f"asking {follow.url} for {follow.ref}")
        followed[name] = pin_followed(follow)
    path = followed_lock(recipe.name)
    commits = {name: pinned.model_dump() for name, pinned in followed.items()}
    write_text(path, json.dumps(commits, indent=1, sort_keys=True) + "\n")
    return path


def built_pythons(recipe: str, matrices: Mapping[str, Matrix]) -> tuple[str, ...]:
    """Return the tags of the Pythons for which a matrix builds a recipe, sorted. Pure.

    Raises:
        ConfigError: no matrix builds it.
    """
    cells = (cell for matrix in matrices.values() for cell in matrix.cells if cell.recipe == recipe)
    if not (pythons := sorted({tag for cell in cells for tag in cell.pythons})):
        raise ConfigError(f"no matrix builds {recipe}; name a Python with --python")
    return tuple(pythons)


def refresh_requirements(recipe: Recipe, tag: str, report: Report) -> list[Path]:
    """Resolve a recipe's build and test requirements for one Python to files with hashes, by uv.

    Build requirements are for this machine (x86-64), test requirements for emulation (aarch64).

    Raises:
        ToolboxError: uv finds no set of versions.
    """
    written = []
    wanted = {
        "build": (recipe.build.requires, "x86_64-manylinux_2_28"),
        "tests": (recipe.test_requires, "aarch64-manylinux_2_28"),
    }
    for purpose, (requires, platform) in wanted.items():
        if not requires:
            continue
        path = requirements_lock(recipe.name, purpose, tag)
        report(f"resolving {path.name}")
        with tempfile.TemporaryDirectory() as scratch:
            source, resolved = Path(scratch) / "requirements.in", Path(scratch) / "requirements.txt"
            source.write_text("\n".join(requires) + "\n", encoding="utf-8")
            done = subprocess.run(
                [
                    *(
                        str(Path(sys.executable).parent / "uv"),
                        "pip",
                        "compile",
                        "--quiet",
                        "--generate-hashes",
                    ),
                    *("--no-header", "--no-annotate", "--no-emit-index-url", "--upgrade"),
                    *("--only-binary", ":all:", "--python-version", version_of(tag)),
                    *("--python-platform", platform, "-o", str(resolved), str(source)),
                ],
                capture_output=True,
                text=True,
                check=False,
                env=uv_environment(),
            )
            if done.returncode:
                raise ToolboxError(f"uv finds no set of requirements for {path.name}:\n{done.stderr.strip()}")
            write_text(path, resolved.read_text(encoding="utf-8"))
        written.append(path)
    return written
