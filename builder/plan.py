"""Recipe x version x Python x target x backend -> builds, and what is left to do for each. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from builder.digests import Cell, Ingredients, compile_inputs, digest, wheel_inputs
from builder.errors import ConfigError
from builder.model.build import Build
from builder.model.matrix import Cells, Matrix
from builder.model.pythons import release_of
from builder.model.recipe import Recipe
from builder.settings import there_are
from builder.targets import Targets


def make_builds(
    matrix: Matrix, recipes: Mapping[str, Recipe], targets: Targets, ingredients: Ingredients
) -> tuple[Build, ...]:
    """Every cell of the matrix as a build, in the matrix's own order.

    Raises:
        ConfigError: with every cell that names what no recipe, toolchain or target file knows.
    """
    builds: dict[str, Build] = {}
    faults: list[str] = []
    for cells in matrix.cells:
        faults += _unknown(cells, recipes, targets, ingredients)
        if faults:
            continue
        recipe = recipes[cells.recipe]
        for version in map(recipe.version_of, cells.versions):
            pythons = sorted(cells.pythons, key=release_of) if recipe.build.stable_abi else cells.pythons
            built, tested = (pythons[:1], tuple(pythons[1:])) if recipe.build.stable_abi else (pythons, ())
            for python in built:
                for target in cells.targets:
                    for backend in cells.backends:
                        try:
                            build = make_build(
                                recipe,
                                version=version,
                                python=python,
                                target=target,
                                backend=backend,
                                required=cells.required,
                                targets=targets,
                                ingredients=ingredients,
                            )
                        except ConfigError as error:
                            faults.append(str(error))
                        else:
                            earlier = builds.get(build.id)
                            required = build.required or (earlier is not None and earlier.required)
                            tested_too = {*tested, *(earlier.tested if earlier else ())}
                            builds[build.id] = build.model_copy(
                                update={
                                    "required": required,
                                    "tested": tuple(sorted(tested_too, key=release_of)),
                                }
                            )
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))
    return tuple(builds.values())


def unknown_names(
    cells: Cells, recipes: Mapping[str, Recipe], targets: Targets, pythons: Collection[str]
) -> list[str]:
    """Faults of a block of cells: names that no recipe, target or Python of ``configs/`` has, by key."""
    recipe = recipes.get(cells.recipe)
    if recipe is None:
        return [f"recipe: no recipe '{cells.recipe}'; {there_are(cells.recipe, recipes)}"]
    return [
        f"{key}: no {what} '{name}'; {there_are(name, known)}"
        for key, what, names, known in (
            ("versions", f"version of {recipe.name}", cells.versions, {*recipe.versions, *recipe.follows}),
            ("backends", f"backend of {recipe.name}", cells.backends, recipe.backends),
            ("targets", "target", cells.targets, targets.spellings),
        )
        for name in names
        if name not in known
    ] + [f"pythons: {no_python(tag, pythons)}" for tag in cells.pythons if tag not in pythons]


def no_python(tag: str, known: Collection[str]) -> str:
    """Explain that ``toolchains.toml`` has no Python ``tag``, and name those of ``known``. Pure."""
    if tag.endswith("t") and tag.removesuffix("t") in known:
        there = ", ".join(sorted(known))
        return f"no Python '{tag}': Debian has no free-threaded CPython (PEP 703); there are {there}"
    return f"no Python '{tag}'; {there_are(tag, known)}"


class _MayHaveFortran(Protocol):
    @property
    def fortran(self) -> object:
        """What is true for a compiler with Fortran."""


def recipe_faults(recipe: Recipe, targets: Targets, compilers: Mapping[str, _MayHaveFortran]) -> list[str]:
    """Faults of a recipe: names of targets, CPU features or compilers that ``configs/`` does not have."""
    own_names = list(targets)
    features = {feature for target in targets.values() for feature in target.features}
    faults = [
        f"recipe {recipe.name}: {key}: no {what} '{name}'; {there_are(name, known)}"
        for key, what, names, known in (
            ("promises", "target of that very name", recipe.promises, own_names),
            ("targets", "target of that very name", recipe.targets, own_names),
            ("build.dispatched", "target with the feature", recipe.build.dispatched.values(), features),
            ("build.compiler", "compiler", (recipe.build.compiler,), compilers),
        )
        for name in dict.fromkeys(names)
        if name not in known
    ]
    chosen = compilers.get(recipe.build.compiler)
    if recipe.build.fortran and chosen is not None and not chosen.fortran:
        able = ", ".join(sorted(name for name, compiler in compilers.items() if compiler.fortran))
        faults.append(
            f"recipe {recipe.name}: build.fortran: compiler '{recipe.build.compiler}' has no Fortran; "
            f"these have: {able or 'none'}"
        )
    return faults


def _unknown(
    cells: Cells, recipes: Mapping[str, Recipe], targets: Targets, ingredients: Ingredients
) -> list[str]:
    """Faults of a block of cells: what it names and nothing defines or pins."""
    faults = unknown_names(cells, recipes, targets, ingredients.identifiers)
    if cells.recipe not in recipes:
        return faults
    recipe = recipes[cells.recipe]
    faults += recipe_faults(recipe, targets, ingredients.compilers)
    faults += [
        f"recipe {recipe.name} follows '{name}', which is not pinned; run `armwheels lock --recipe {recipe.name}`"
        for name in cells.versions
        if name in recipe.follows and name not in recipe.followed
    ]
    faults += [
        f"recipe {recipe.name} has no pinned build requirements for {python}; "
        f"run `armwheels lock --recipe {recipe.name} --python {python}`"
        for python in cells.pythons
        if (recipe.name, python) not in ingredients.lock_digests
    ]
    wanted = {*recipe.build.programs, *recipe.build.libraries}
    wanted |= {static.part for backend in recipe.backends.values() for static in backend.relinked}
    compiler = ingredients.compilers.get(recipe.build.compiler)
    if compiler is not None:
        wanted |= {*compiler.tools, *(compiler.fortran if recipe.build.fortran else ())}
    wanted |= {"bazel", "zig"} if recipe.build.bazel is not None else set()
    if (rust := recipe.build.rust) is not None and ingredients.rust is not None:
        wanted |= set(ingredients.rust.parts)
        if rust.crates == "registry" and ingredients.rust.registry is None:
            faults.append(
                f"recipe {recipe.name} takes its crates from a cargo registry, and the source brings none: name a "
                "registry in your own configuration of cargo (`[registry]` or `[source]` in its config.toml)"
            )
    faults += [
        f"recipe {recipe.name} wants the part '{part}', which toolchains.lock does not pin for this kind of host; "
        f"run `armwheels lock --part {part}`"
        for part in sorted(wanted - set(ingredients.tool_digests))
    ]
    if compiler := ingredients.compilers.get(recipe.build.compiler):
        wanted |= {*compiler.tools, *compiler.licence_parts}
    wanted |= {f"{kind}-{tag}" for kind in ("python", "headers", "userland") for tag in cells.pythons}
    faults += [
        f"toolchains.toml asks for other files of the part '{part}' than toolchains.lock pins; "
        f"run `armwheels lock --part {part}`"
        for part in sorted(wanted & ingredients.stale_parts)
    ]
    return faults


def make_build(
    recipe: Recipe,
    *,
    version: str,
    python: str,
    target: str,
    backend: str,
    required: bool,
    targets: Targets,
    ingredients: Ingredients,
) -> Build:
    """One cell with its digests.

    Raises:
        ConfigError: the target is unknown, or the recipe's compiler does not know its CPU.
    """
    compiler = ingredients.compilers[recipe.build.compiler]
    cell = Cell(recipe=recipe, version=version, python=python, target=targets[target], backend=backend)
    flags = compiler.flags(cell.target)
    inputs = compile_inputs(cell, flags, ingredients)
    compile_digest = digest(inputs)
    suffix = "" if backend == "none" else f"-{backend}"
    return Build(
        id=f"{recipe.project}-{version}-{python}-{cell.target.name}{suffix}",
        recipe=recipe,
        version=version,
        python=python,
        identifier=ingredients.identifiers[python],
        target=cell.target.name,
        backend=backend,
        required=required,
        compiler=recipe.build.compiler,
        compiler_version=compiler.version,
        flags=flags,
        foreign_paths=cell.foreign_paths,
        options=cell.options,
        environment=cell.environment,
        compile_inputs=inputs,
        compile_digest=compile_digest,
        wheel_digest=digest(wheel_inputs(cell, compile_digest, ingredients)),
    )


class State(Enum):
    """How much of a build is done already, least first."""

    NEW = "new"
    COMPILED = "compiled"
    BUILT = "built"
    PUBLISHED = "published"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What earlier runs left: digests that have an output, and the inputs each build was last made from."""

    compiled: frozenset[str] = frozenset()
    built: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()
    last_inputs: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One build with how far it is and why."""

    build: Build
    state: State
    why: str


def make_plan(builds: Iterable[Build], known: Known) -> tuple[Step, ...]:
    """Say of each build what is left to do, and why."""
    return tuple(_step(build, known) for build in builds)


def _step(build: Build, known: Known) -> Step:
    if build.wheel_digest in known.published:
        return Step(build=build, state=State.PUBLISHED, why="the index has this wheel digest")
    if build.wheel_digest in known.built:
        return Step(build=build, state=State.BUILT, why="the wheel is here, not yet published")
    if build.compile_digest in known.compiled:
        return Step(build=build, state=State.COMPILED, why="compiled; only repair differs or is missing")
    before = (known.last_inputs or {}).get(build.id)
    if before is None:
        return Step(build=build, state=State.NEW, why="never built here")
    changed = differences(before, build.compile_inputs)
    return Step(
        build=build,
        state=State.NEW,
        why="changed: " + ("; ".join(changed) or "its earlier output was deleted"),
    )


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two sets of compile inputs, in words, one entry a key."""
    found: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        name = f"{prefix}{key}"
        if old == new and (key in before) == (key in now):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{name}.")
        elif isinstance(old, list) and isinstance(new, list):
            added = [f"+{item}" for item in new if item not in old]
            removed = [f"-{item}" for item in old if item not in new]
            found.append(f"{name} {' '.join(map(str, removed + added)) or 'in another order'}")
        elif _is_hash(old) and _is_hash(new):
            found.append(f"{name} {str(old)[:8]} -> {str(new)[:8]}")
        else:
            found.append(f"{name} {_shown(old)} -> {_shown(new)}")
    return found


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
