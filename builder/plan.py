"""Recipe x version x Python x target x backend -> builds with their digests, and what is new about each. Pure.

The compile digest covers what the compiler sees: source, patches, flags, toolchain hashes, options. The wheel
digest adds what repair does. Audit and verify are in neither, so improving them re-checks and rebuilds nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from builder.errors import ConfigError
from builder.model.build import Build
from builder.model.matrix import Cells, Matrix
from builder.model.pythons import version_of
from builder.model.recipe import Recipe
from builder.settings import there_are
from builder.targets import Target, Targets


class CompilerFacts(NamedTuple):
    """What a plan needs to know of a compiler.

    ``tools`` are the parts of the toolbox that it consists of, ``family`` is its key below ``[TARGET.flags]`` in
    ``targets.toml``, ``licence_parts`` are the parts whose licences repair adds to a wheel.
    """

    version: str
    tools: tuple[str, ...]
    family: str
    licence_parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What a plan needs to know besides recipes and targets, read at the edge and passed in.

    ``tool_digests`` names each part of the toolbox, ``lock_digests`` the hashed requirement files by
    ``(recipe, python)``, ``compilers`` each compiler by its name, ``identifiers`` the
    cibuildwheel identifier of each Python, ``stages`` the hand-raised stage versions, ``repair_tools`` the
    versions of the tools that write the final bytes.
    """

    tool_digests: Mapping[str, str]
    lock_digests: Mapping[tuple[str, str], str]
    compilers: Mapping[str, CompilerFacts]
    identifiers: Mapping[str, str]
    source_inputs: Mapping[tuple[str, str], Mapping[str, object]]
    stages: Mapping[str, int]
    repair_tools: Mapping[str, str]


def digest(inputs: Mapping[str, Any]) -> str:
    """sha256 of plain data in one canonical spelling (sorted keys, no spaces)."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
            for python in cells.pythons:
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
                            builds[build.id] = build.model_copy(update={"required": required})
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))
    return tuple(builds.values())


def unknown_names(
    cells: Cells, recipes: Mapping[str, Recipe], targets: Targets, pythons: Iterable[str]
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
            ("pythons", "Python", cells.pythons, pythons),
            ("targets", "target", cells.targets, targets.spellings),
        )
        for name in names
        if name not in known
    ]


def recipe_faults(recipe: Recipe, targets: Targets, compilers: Iterable[str]) -> list[str]:
    """Faults of a recipe: names of targets, CPU features or compilers that ``configs/`` does not have."""
    own_names = list(targets)
    features = {feature for target in targets.values() for feature in target.features}
    return [
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
        f"run `armwheels lock --recipe {recipe.name}`"
        for python in cells.pythons
        if (recipe.name, python) not in ingredients.lock_digests
    ]
    wanted = {*recipe.build.programs, *recipe.build.libraries}
    wanted |= {static.part for backend in recipe.backends.values() for static in backend.relinked}
    wanted |= {"bazel", "zig"} if recipe.build.bazel is not None else set()
    faults += [
        f"recipe {recipe.name} wants the part '{part}', which toolchains.lock does not pin"
        for part in sorted(wanted - set(ingredients.tool_digests))
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
    cpu = targets[target]
    compiler = recipe.build.compiler
    toolchain = ingredients.compilers[compiler]
    compiler_version = toolchain.version
    flags = cpu.flags(toolchain.family, compiler_version)
    foreign = tuple(path for path, feature in recipe.build.dispatched.items() if feature not in cpu.features)
    options = (
        *recipe.build.options,
        *recipe.versions[version].options,
        *recipe.backends[backend].options,
        *(recipe.targets[cpu.name].options if cpu.name in recipe.targets else ()),
    )
    raw = {
        **recipe.build.environment,
        **recipe.versions[version].environment,
        **recipe.backends[backend].environment,
    }
    facts = _facts(python, cpu)
    environment = {name: _with_facts(value, facts) for name, value in raw.items()}
    bazel = recipe.build.bazel
    if bazel is not None:
        options = (*options, *bazel.versions[version].options)
    options = tuple(_with_facts(option, facts) for option in options)
    relinked = recipe.backends[backend].relinked
    parts = tuple(
        dict.fromkeys(
            (
                *(*toolchain.tools, f"python-{python}", f"headers-{python}"),
                *(*recipe.build.programs, *recipe.build.libraries, *(static.part for static in relinked)),
                *(("bazel", "zig") if bazel is not None else ()),
            )
        )
    )
    compile_inputs: dict[str, Any] = {
        "stage": ingredients.stages["compile"],
        **({"wrapper": ingredients.stages[compiler]} if compiler in ingredients.stages else {}),
        "source": dict(ingredients.source_inputs[recipe.name, version]),
        "python": python,
        "compiler": f"{compiler} {compiler_version}",
        "flags": list(flags),
        "options": list(options),
        "settings": recipe.build.model_dump(
            mode="json", exclude={"requires", "options", "compiler", "needs", "bazel", "dispatched"}
        ),
        **({"foreign_paths": list(foreign)} if foreign else {}),
        "dependencies": {d.name: d.model_dump(mode="json") for d in recipe.backends[backend].dependencies}
        | {static.name: static.model_dump(mode="json") for static in relinked}
        | {library.name: library.model_dump(mode="json") for library in recipe.backends[backend].built},
        "environment": dict(
            sorted({**recipe.versions[version].environment, **recipe.backends[backend].environment}.items())
        ),
        **({"facts": environment} if environment != raw else {}),
        "requirements": ingredients.lock_digests[recipe.name, python],
        "toolchain": {part: ingredients.tool_digests[part] for part in parts},
        **({"extends": recipe.extends.model_dump(mode="json")} if recipe.extends else {}),
    }
    if bazel is not None:
        compile_inputs["bazel"] = {
            "stage": ingredients.stages["bazel"],
            "packaged": list(bazel.packaged),
            **bazel.versions[version].model_dump(mode="json", exclude={"options"}),
        }
    compile_digest = digest(compile_inputs)
    wheel_inputs = {
        "stage": ingredients.stages["repair"],
        "compile": compile_digest,
        "target": cpu.name,
        "backend": backend,
        "default_backend": recipe.backends[backend].default,
        "build_number": recipe.build_number,
        **({"licensed": licensed} if (licensed := recipe.backends[backend].licensed) else {}),
        "toolchain": {
            part: ingredients.tool_digests[part]
            for part in ("llvm", f"userland-{python}", *toolchain.licence_parts)
        },
        "tools": dict(ingredients.repair_tools),
    }
    suffix = "" if backend == "none" else f"-{backend}"
    return Build(
        id=f"{recipe.project}-{version}-{python}-{cpu.name}{suffix}",
        recipe=recipe,
        version=version,
        python=python,
        identifier=ingredients.identifiers[python],
        target=cpu.name,
        backend=backend,
        required=required,
        compiler=compiler,
        compiler_version=compiler_version,
        flags=flags,
        foreign_paths=foreign,
        options=options,
        environment=environment,
        compile_inputs=compile_inputs,
        compile_digest=compile_digest,
        wheel_digest=digest(wheel_inputs),
    )


def _facts(python: str, target: Target) -> dict[str, str]:
    """What a recipe may ask of Python and of the target: caches in bytes, SVE vectors in bits."""
    l1d, l2, l3 = (1024 * kib for kib in (target.cache.l1d, target.cache.l2, target.cache.l3))
    return {
        "python": version_of(python),
        "l1d": str(l1d),
        "l2": str(l2),
        # Eigen takes the last level as shared by all threads; where there is none, the second is the last.
        "l3": str(max(l2, l3)),
        "vector-bits": str(8 * target.vector_bytes),
    }


def _with_facts(text: str, facts: Mapping[str, str]) -> str:
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", value)
    return text


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
        build=build, state=State.NEW, why="changed: " + ("; ".join(changed) or "its earlier output is gone")
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
            found.append(f"{name} {_said(old)} -> {_said(new)}")
    return found


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _said(value: object) -> str:
    return "none" if value is None else str(value)
