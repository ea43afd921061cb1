"""What plans and audits take from configuration: digests of pins and locks, stage versions, expectations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from builder.audit import open_wheel
from builder.compile.compilers import compiler_named
from builder.compile.rust import named_registry
from builder.compile.stages import compile_stages
from builder.compile.units import read_record
from builder.digests import CompilerFacts, Ingredients, RustFacts
from builder.load import Configs
from builder.locks import requirements_lock
from builder.model.expectations import AllowedCode, Expectations
from builder.model.recipe import Recipe
from builder.model.toolchains import Toolchains
from builder.model.units import UnitRecord
from builder.repair.repair import REPAIR_VERSION, repair_tools
from builder.source import source_inputs
from builder.targets import Target
from builder.toolbox.pins import Pins, stale_parts
from builder.whole import sha256_of


def expectations_of(
    wheel: Path, configs: Configs, target: Target | None, allow: tuple[AllowedCode, ...] = ()
) -> Expectations:
    """The expectations of the recipe that a wheel's passport names; none for wheels of other projects.

    The extensions that a recipe promises for its target are not expected when the wheel is judged for another one.
    ``allow`` is added to what the recipe allows.
    """
    passport = open_wheel(wheel).passport or {}
    recipe = configs.recipes.get(passport.get("recipe", ""))
    if recipe is None:
        return Expectations(allow=allow)
    own = passport.get("target", "")
    judged = target.name if target else own
    known = judged == own and own in configs.targets
    found = recipe_expectations(recipe, own if known else "", configs.toolchains)
    return found.model_copy(update={"allow": (*found.allow, *allow)})


def record_of(wheel: Path, home: Path) -> UnitRecord | None:
    """The units of a wheel's compile, if its passport names one whose output is in the state folder ``home``."""
    passport = open_wheel(wheel).passport or {}
    digest = passport.get("digests", {}).get("compile", "")
    return read_record(compiled_folder(home, digest)) if re.fullmatch("[0-9a-f]{64}", str(digest)) else None


def compiled_folder(home: Path, compile_digest: str) -> Path:
    """The folder of a raw wheel, with its log, its cost and the record of its units."""
    return home / "out/compiled" / compile_digest


def recipe_expectations(recipe: Recipe, target: str, toolchains: Toolchains) -> Expectations:
    """The expectations for a recipe's wheel of one target: the rules of the recipe and of its compiler."""
    baseline = compiler_named(recipe.build.compiler, toolchains.compilers).baseline_cpu
    return Expectations(
        allow=(*recipe.audit.allow, *toolchains.compilers[recipe.build.compiler].allow),
        unoptimized=recipe.audit.unoptimized,
        promises=recipe.promises.get(target, ()),
        max_size_bytes=recipe.audit.max_size_bytes,
        flags=recipe.audit.flags,
        # Units outside a recipe's hot paths are compiled for the baseline, and shared by all targets.
        baseline_flags=(f"-mcpu={baseline}",) if recipe.build.hot_paths else None,
        supplied=recipe.extends.supplied if recipe.extends else None,
    )


def gather_ingredients(recipes: Mapping[str, Recipe], toolchains: Toolchains, pins: Pins) -> Ingredients:
    """Read at the edge what a plan needs: pins, lock files, stage versions."""
    locks = {
        (recipe, python): sha256_of(path)
        for recipe in recipes
        for python in toolchains.pythons
        if (path := requirements_lock(recipe, "build", python)).is_file()
    }
    return Ingredients(
        tool_digests={part: pins.digest(part) for part in pins.parts},
        lock_digests=locks,
        compilers={
            name: CompilerFacts(
                version=table.version,
                tools=table.tools,
                family=compiler_named(name, toolchains.compilers).family,
                licence_parts=compiler_named(name, toolchains.compilers).licence_parts,
                fortran=table.fortran.parts if table.fortran else (),
                cpus=table.cpus,
            )
            for name, table in toolchains.compilers.items()
        },
        identifiers={tag: python.identifier for tag, python in toolchains.pythons.items()},
        source_inputs={
            (name, version): source_inputs(source)
            for name, recipe in recipes.items()
            for version, source in recipe.versions.items()
        },
        stages={
            **compile_stages(toolchains.compilers),
            "repair": REPAIR_VERSION,
        },
        repair_tools=repair_tools(),
        stale_parts=stale_parts(toolchains, pins),
        rust=RustFacts(toolchains.rust.version, (*toolchains.rust.parts, "zig"), named_registry())
        if toolchains.rust
        else None,
    )
