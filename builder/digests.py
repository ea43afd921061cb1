"""What enters the digests of a build. Pure.

The compile digest covers what the compiler sees: source, patches, flags, toolchain hashes, options. The wheel
digest adds what repair does. Audit and verify are in neither, so that improving them rebuilds nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from builder.model.libraries import Backend
from builder.model.pythons import version_of
from builder.model.recipe import BazelStyle, Recipe
from builder.model.sources import VersionSource
from builder.targets import Target


class CompilerFacts(NamedTuple):
    """What a plan needs to know of a compiler.

    ``tools`` are the parts of the toolbox that it consists of, ``family`` is its key below ``[TARGET.flags]`` in
    ``targets.toml``, ``licence_parts`` are the parts whose licences repair adds to a wheel. ``fortran`` are the
    parts of its Fortran compiler, ``cpus`` its own values of ``-mcpu`` by target.
    """

    version: str
    tools: tuple[str, ...]
    family: str
    licence_parts: tuple[str, ...] = ()
    fortran: tuple[str, ...] = ()
    cpus: Mapping[str, str] = MappingProxyType({})

    def flags(self, target: Target) -> tuple[str, ...]:
        """The machine flags for ``target``: one ``-mcpu``.

        Raises:
            ConfigError: the compiler does not know the target's CPU.
        """
        cpu = self.cpus.get(target.name)
        return (f"-mcpu={cpu}",) if cpu else target.flags(self.family, self.version)


class RustFacts(NamedTuple):
    """What a plan needs to know of the Rust compiler.

    ``parts`` are the parts of the toolbox that it consists of, the linker of build scripts among them. ``registry``
    says where cargo's own configuration names a registry of crates; ``None`` if it names none.
    """

    version: str
    parts: tuple[str, ...]
    registry: str | None


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What a plan needs to know besides recipes and targets, read at the edge and passed in.

    ``tool_digests`` names each part of the toolbox, ``lock_digests`` the hashed requirement files by
    ``(recipe, python)``, ``compilers`` each compiler by its name, ``identifiers`` the
    cibuildwheel identifier of each Python, ``stages`` the hand-raised stage versions, ``repair_tools`` the
    versions of the tools that write the final bytes, ``stale_parts`` the parts that ``toolchains.toml`` asks for
    otherwise than the lock pins them, ``rust`` the Rust compiler.
    """

    tool_digests: Mapping[str, str]
    lock_digests: Mapping[tuple[str, str], str]
    compilers: Mapping[str, CompilerFacts]
    identifiers: Mapping[str, str]
    source_inputs: Mapping[tuple[str, str], Mapping[str, object]]
    stages: Mapping[str, int]
    repair_tools: Mapping[str, str]
    stale_parts: frozenset[str] = frozenset()
    rust: RustFacts | None = None


def digest(inputs: Mapping[str, Any]) -> str:
    """sha256 of plain data in one canonical spelling (sorted keys, no spaces)."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a matrix: what its recipe, version, backend and target say together."""

    recipe: Recipe
    version: str
    python: str
    target: Target
    backend: str

    @property
    def source(self) -> VersionSource:
        return self.recipe.versions[self.version]

    @property
    def libraries(self) -> Backend:
        return self.recipe.backends[self.backend]

    @property
    def bazel(self) -> BazelStyle | None:
        settings = self.recipe.build.bazel
        return settings.versions[self.version] if settings is not None else None

    @property
    def foreign_paths(self) -> tuple[str, ...]:
        """Patterns of hot units that this target never calls."""
        dispatched = self.recipe.build.dispatched
        return tuple(path for path, feature in dispatched.items() if feature not in self.target)

    @property
    def options(self) -> tuple[str, ...]:
        """Build options, from the general to the special, with the target's facts filled in."""
        special = self.recipe.targets.get(self.target.name)
        options = (
            *self.recipe.build.options,
            *self.source.options,
            *self.libraries.options,
            *(special.options if special is not None else ()),
            *(self.bazel.options if self.bazel is not None else ()),
        )
        return tuple(self._filled(option) for option in options)

    @property
    def raw_environment(self) -> dict[str, str]:
        """Variables of the build as the recipe spells them."""
        return {
            **self.recipe.build.environment,
            **self.source.environment,
            **self.libraries.environment,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the build, with the target's facts filled in."""
        return {name: self._filled(value) for name, value in self.raw_environment.items()}

    def _filled(self, text: str) -> str:
        """Replace the placeholders of Python and target: caches in bytes, SVE vectors in bits."""
        cache = self.target.cache
        facts = {
            "python": version_of(self.python),
            "l1d": 1024 * cache.l1d,
            "l2": 1024 * cache.l2,
            # Eigen takes the last level as shared by all threads; where there is none, the second is the last.
            "l3": 1024 * max(cache.l2, cache.l3),
            "vector-bits": self.target.sve_bits,
        }
        for name, value in facts.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text


def compile_inputs(cell: Cell, flags: tuple[str, ...], ingredients: Ingredients) -> dict[str, Any]:
    """What the compiler sees, as plain data. A key that most builds lack is there only where it says something."""
    recipe, settings, libraries = cell.recipe, cell.recipe.build, cell.libraries
    compiler = ingredients.compilers[settings.compiler]
    inputs: dict[str, Any] = {
        "stage": ingredients.stages["compile"],
        "source": dict(ingredients.source_inputs[recipe.name, cell.version]),
        "python": cell.python,
        "compiler": f"{settings.compiler} {compiler.version}",
        "flags": list(flags),
        "options": list(cell.options),
        "settings": settings.model_dump(
            mode="json",
            exclude={
                *("requires", "options", "compiler", "needs", "bazel", "dispatched"),
                *("fortran", "stable_abi", "rust", "config_settings"),
            },
        ),
        "dependencies": {library.name: library.model_dump(mode="json") for library in libraries.all},
        "environment": dict(sorted({**cell.source.environment, **libraries.environment}.items())),
        "requirements": ingredients.lock_digests[recipe.name, cell.python],
        "toolchain": {
            part: ingredients.tool_digests[part] for part in _parts(cell, compiler, ingredients.rust)
        },
    }
    if settings.compiler in ingredients.stages:
        inputs["wrapper"] = ingredients.stages[settings.compiler]
    if settings.frontend in ("setuptools", "setuptools-rust"):
        inputs["frontend"] = ingredients.stages["setuptools"]
    if settings.frontend == "cibuildwheel":
        inputs["frontend"] = ingredients.stages["cibuildwheel"]
    if settings.rust is not None and ingredients.rust is not None:
        inputs["rust"] = [ingredients.stages["rust"], ingredients.rust.version, settings.rust.crates]
    if settings.config_settings:
        inputs["config_settings"] = settings.model_dump(mode="json")["config_settings"]
    if cell.foreign_paths:
        inputs["foreign_paths"] = list(cell.foreign_paths)
    if cell.environment != cell.raw_environment:
        inputs["facts"] = cell.environment
    if recipe.extends is not None:
        inputs["extends"] = recipe.extends.on(cell.python).model_dump(mode="json", exclude={"pythons"})
    if settings.bazel is not None and cell.bazel is not None:
        inputs["bazel"] = {
            "stage": ingredients.stages["bazel"],
            "packaged": list(settings.bazel.packaged),
            **cell.bazel.model_dump(mode="json", exclude={"options"}),
        }
    return inputs


def _parts(cell: Cell, compiler: CompilerFacts, rust: RustFacts | None) -> dict[str, None]:
    """The parts of the toolbox that take part in compiling, in the order they are used."""
    settings = cell.recipe.build
    return dict.fromkeys(
        (
            *(*compiler.tools, f"python-{cell.python}", f"headers-{cell.python}"),
            *(compiler.fortran if settings.fortran else ()),
            *(*settings.programs, *settings.libraries, *(static.part for static in cell.libraries.relinked)),
            *(("bazel", "zig") if settings.bazel is not None else ()),
            *(rust.parts if settings.rust is not None and rust is not None else ()),
        )
    )


def wheel_inputs(cell: Cell, compile_digest: str, ingredients: Ingredients) -> dict[str, Any]:
    """What repair adds to what was compiled, as plain data."""
    compiler = ingredients.compilers[cell.recipe.build.compiler]
    inputs: dict[str, Any] = {
        "stage": ingredients.stages["repair"],
        "compile": compile_digest,
        "target": cell.target.name,
        "backend": cell.backend,
        "default_backend": cell.libraries.default,
        "build_number": cell.recipe.build_number,
        "toolchain": {
            part: ingredients.tool_digests[part]
            for part in ("llvm", f"userland-{cell.python}", *compiler.licence_parts)
        },
        "tools": dict(ingredients.repair_tools),
    }
    if cell.libraries.licensed is not None:
        inputs["licensed"] = cell.libraries.licensed
    return inputs
