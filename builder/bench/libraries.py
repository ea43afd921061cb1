"""Holds a library that recipes pin against another version of it, before the pin moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builder.bench.measure import program_for
from builder.bench.model import IMPORT, Measured
from builder.errors import ConfigError
from builder.model.recipe import Recipe
from builder.toolbox.fetch import Listed


def pinned_libraries(recipes: Iterable[Recipe]) -> dict[str, str]:
    """Return the pinned version of each library that recipes take from a wheel and a bench script measures.

    Raises:
        ConfigError: two recipes pin different versions of a library.
    """
    pinned: dict[str, str] = {}
    for recipe in recipes:
        for backend in recipe.backends.values():
            for library in backend.dependencies:
                if program_for(library.name) is None:
                    continue
                if pinned.setdefault(library.name, library.version) != library.version:
                    raise ConfigError(
                        f"recipes pin {library.name} {pinned[library.name]} and {library.version}"
                    )
    return dict(sorted(pinned.items()))


def candidates_of(asked: Iterable[str], pinned: Iterable[str]) -> dict[str, str | None]:
    """Parse ``NAME`` and ``NAME==VERSION``. Return the candidate version of each library, or ``None``. Pure.

    Without ``asked``, all of ``pinned`` have no candidate.

    Raises:
        ConfigError: a text has another form, or names no pinned library.
    """
    names = {str(canonicalize_name(name)): name for name in pinned}
    found: dict[str, str | None] = {}
    for text in asked:
        try:
            requirement = Requirement(text)
            versions = [str(Version(one.version)) for one in requirement.specifier if one.operator == "=="]
        except (InvalidRequirement, InvalidVersion) as error:
            raise ConfigError(f"{text} is not NAME or NAME==VERSION: {error}") from error
        if len(versions) != len(requirement.specifier) or len(versions) > 1:
            raise ConfigError(f"{text} is not NAME or NAME==VERSION")
        name = names.get(canonicalize_name(requirement.name))
        if name is None:
            known = ", ".join(sorted(names.values()))
            raise ConfigError(f"no pinned library {requirement.name} with workloads; there are {known}")
        found[name] = versions[0] if versions else None
    return found or dict.fromkeys(sorted(names.values()))


def version_before(listed: Iterable[Listed], version: str, tags: Sequence[Tag]) -> str | None:
    """Return the newest final version below ``version`` that has a wheel for one of ``tags``, or ``None``. Pure."""
    wanted, versions = set(tags), set()
    for file in listed:
        with suppress(InvalidWheelFilename):
            _, found, _, its_tags = parse_wheel_filename(file.filename)
            if its_tags & wanted and not found.is_prerelease and found < Version(version):
                versions.add(found)
    return str(max(versions)) if versions else None


def without_import(measured: Measured) -> Measured:
    """Return the rows of the library's own functions. The import of its Python package is not one of them.

    The row of an import that failed stays.
    """
    rows = tuple(row for row in measured.rows if row.workload != IMPORT or row.state != "ran")
    return measured.model_copy(update={"rows": rows})
