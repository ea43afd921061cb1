"""Makes a recipe, its test script and its matrix from the name of a project."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from builder.errors import ConfigError
from builder.folders import recipe_files, recipe_folders, scripts
from builder.load import Configs
from builder.model.libraries import WheelDependency
from builder.model.recipe import BuildSettings, RecipeFile
from builder.model.toolchains import Toolchains
from builder.recipes.guesses import guess_libraries, guess_licence
from builder.recipes.openblas import openblas_wheel
from builder.recipes.project import (
    Release,
    WheelFiles,
    best_wheel,
    fetch,
    find_release,
    pythons_of,
    read_wheel,
)
from builder.recipes.refuse import refusal
from builder.recipes.sdist import Sdist, read_sdist
from builder.recipes.smoke import main_module, test_script
from builder.recipes.write import Draft, matrix_text, recipe_text, test_hint
from builder.settings import configs_dir, read_toml, validate
from builder.targets import Targets
from builder.toolbox.fetch import Listed
from builder.whole import write_text

FRONTENDS = tuple(
    one for one in get_args(BuildSettings.model_fields["frontend"].annotation) if one != "cibuildwheel"
)
DEFAULT_TARGETS = ("generic", "neoverse-n1", "neoverse-v1")
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written: the recipe's name and version, its files, the matrix, and what a person should check."""

    name: str
    version: str
    files: tuple[Path, ...]
    matrix: str | None
    cells: str
    pythons: tuple[str, ...]
    targets: tuple[str, ...]
    backend: str
    guesses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A release that can be built: its source distribution, and the wheel of the index that tells most."""

    release: Release
    file: Listed
    sdist: Sdist
    frontend: str
    wheel: WheelFiles | None
    openblas: WheelDependency | None


def examine(
    project: str,
    version: str | None,
    toolchains: Toolchains,
    home: Path,
    report: Report,
    pythons: Sequence[str] = (),
) -> Subject:
    """Fetch a release of pip's index, and refuse what cannot be built. Wheels for ``pythons`` are looked at first.

    Raises:
        ConfigError: there is no such release, or it cannot be built; the message says why.
        ToolboxError: the index does not answer.
        SourceError: a file of the release cannot be read.
    """
    report(f"asking pip's index about {project}")
    release = find_release(project, version)
    named = f"{release.project} {release.version}"
    if release.is_pure:
        raise ConfigError(
            f"{named} needs no recipe: its wheels are pure Python and run on every CPU as they are"
        )
    if release.sdist is None:
        raise ConfigError(
            f"{named} has no source distribution on pip's index; write a recipe with another source"
        )
    if release.sdist.filename.endswith(".zip"):
        raise ConfigError(f"{named}: its source distribution is a zip file, which recipes do not read")
    report(f"reading {release.sdist.filename}")
    sdist = read_sdist(fetch(release.project, release.sdist, home))
    fortran = any("fortran" in name for name in (*toolchains.tools, *toolchains.compilers))
    reason = refusal(sdist, pure_wheels=release.is_pure, frontends=FRONTENDS, fortran=fortran)
    if reason is not None:
        raise ConfigError(f"{named} cannot be built: {reason}")
    supported = pythons_of(release, sdist.metadata, tuple(toolchains.pythons))
    chosen = best_wheel(release, tuple(pythons) or supported)
    if chosen is not None:
        report(f"reading {chosen.filename}")
    wheel = read_wheel(fetch(release.project, chosen, home)) if chosen is not None else None
    return Subject(
        release=release,
        file=release.sdist,
        sdist=sdist,
        frontend=str(sdist.frontend),
        wheel=wheel,
        openblas=openblas_wheel(sdist, home, report),
    )


def new_recipe(
    subject: Subject, configs: Configs, *, targets: Sequence[str], pythons: Sequence[str], force: bool
) -> Written:
    """Write the recipe of a release, its test script and its matrix to the first folder of the user's.

    Without ``ARMWHEELS_RECIPES`` that is ``configs/recipes``.

    Raises:
        ConfigError: a file exists already, or no known Python or target fits.
    """
    name, version = subject.release.project, str(subject.release.version)
    folder = destination()
    wheel = subject.wheel or WheelFiles(
        filename="", bytes=0, members=(), texts={}, metadata=subject.sdist.metadata
    )
    script = folder / f"{main_module(wheel, name)}_wheel.py"
    path = folder / f"{name}.toml"
    _refuse_existing(name, script, path, force)
    fitting = fitting_pythons(subject, configs.toolchains, pythons)
    known = _known_targets(configs.targets, targets)
    draft = Draft(
        name=name,
        version=version,
        about=(subject.sdist.metadata.get("Summary") or name).strip(),
        sdist=subject.sdist,
        file=subject.file,
        frontend=subject.frontend,
        compiler=newest_gnu(configs.toolchains),
        libraries=guess_libraries(subject.sdist, wheel.members, configs.toolchains),
        openblas=subject.openblas,
        licence=guess_licence(subject.sdist),
        wheel_bytes=wheel.bytes or None,
        stable_abi="-abi3-" in wheel.filename,
        script=script.name,
        test_requires=wheel.requires,
        test_hint=test_hint(subject.sdist),
    )
    text = recipe_text(draft)
    validate(RecipeFile, tomllib.loads(text), origin=str(path))
    write_text(script, test_script(name, wheel))
    write_text(path, text)
    cells = matrix_text(name, version, fitting, known, draft.backend)
    matrices, added = add_matrix(name, cells, folder, configs)
    return Written(
        name=name,
        version=version,
        files=(path, script, *([matrices] if added else [])),
        matrix=name if added or name in configs.matrices else None,
        cells="" if added else cells,
        pythons=fitting,
        targets=known,
        backend=draft.backend,
        guesses=draft.guesses,
    )


def destination() -> Path:
    """The folder for new recipes: the first of ``ARMWHEELS_RECIPES``, else ``configs/recipes``."""
    shipped, *own = recipe_folders()
    return own[0] if own else shipped


def fitting_pythons(subject: Subject, toolchains: Toolchains, asked: Sequence[str]) -> tuple[str, ...]:
    """The Pythons to build for: those asked for, else those that the project supports.

    Raises:
        ConfigError: there is none, or the project does not allow one of them.
    """
    metadata = subject.sdist.metadata
    supported = pythons_of(subject.release, metadata, tuple(toolchains.pythons))
    if refused := [tag for tag in asked if tag not in supported]:
        allowed = metadata.get("Requires-Python") or "any"
        raise ConfigError(
            f"{subject.release.project} {subject.release.version} does not support {', '.join(refused)} "
            f"(Requires-Python {allowed}); of the toolbox's Pythons it supports {', '.join(supported) or 'none'}"
        )
    if not supported:
        raise ConfigError(
            f"{subject.release.project} {subject.release.version} supports no Python of the toolbox: "
            f"{', '.join(toolchains.pythons)}"
        )
    return tuple(asked) or supported


def newest_gnu(toolchains: Toolchains) -> str:
    """The newest GNU compiler of the toolbox, since it shares the C++ ABI with other packages."""
    gnu = {name: table for name, table in toolchains.compilers.items() if name.startswith("gcc")}
    return max(gnu or toolchains.compilers, key=lambda name: _numbers(toolchains.compilers[name].version))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _known_targets(targets: Targets, asked: Sequence[str]) -> tuple[str, ...]:
    return tuple(targets[name].name for name in asked or DEFAULT_TARGETS)


def _refuse_existing(name: str, script: Path, path: Path, force: bool) -> None:
    if elsewhere := [one for one in scripts(script.name) if one != script]:
        raise ConfigError(
            f"{script.name} is in {elsewhere[0].parent} already, and would be in {script.parent}, too"
        )
    if others := [one for one in recipe_files().get(name, ()) if one != path]:
        raise ConfigError(f"{others[0]} is a recipe of that name; `armwheels recipe update {name}` renews it")
    if existing := [str(one) for one in (path, script) if one.exists() and not force]:
        raise ConfigError(f"{' and '.join(existing)}: exists already; --force overwrites it")


def add_matrix(name: str, text: str, folder: Path, configs: Configs) -> tuple[Path, bool]:
    """Append a matrix to the file beside the recipes; whether it was, since a matrix is never replaced."""
    shipped = configs_dir() / "recipes"
    path = configs_dir() / "matrices.toml" if folder == shipped else folder / "matrices.toml"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if name in configs.matrices or (before and name in read_toml(path)):
        return path, False
    write_text(path, (before + text).lstrip("\n"))
    return path, True
