"""Writes a recipe and its matrix from what is known of a project. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.model.libraries import WheelDependency
from builder.recipes.guesses import LibraryGuess
from builder.recipes.openblas import ALLOWED, OPTIONS
from builder.recipes.sdist import FORTRAN, Sdist
from builder.toolbox.fetch import Listed

_ALWAYS = {
    "setuptools": ("build", "setuptools", "wheel"),
    "meson-python": ("build", "meson-python", "ninja", "pkgconf"),
    "scikit-build-core": ("build", "scikit-build-core", "cmake", "ninja"),
    "maturin": ("build", "maturin"),
    "setuptools-rust": ("build", "setuptools", "setuptools-rust", "wheel"),
}
"""What each frontend needs besides the declared requirements."""
_SIZE_ROOM = 3
_SMALLEST_LIMIT = 500_000


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a recipe is written from."""

    name: str
    version: str
    about: str
    sdist: Sdist
    file: Listed
    frontend: str
    compiler: str
    libraries: tuple[LibraryGuess, ...]
    """Those that the project may link; BLAS and LAPACK are left out where ``openblas`` has them."""
    openblas: WheelDependency | None
    licence: str
    wheel_bytes: int | None
    stable_abi: bool
    script: str
    test_requires: tuple[str, ...]
    test_hint: str | None

    def __post_init__(self) -> None:
        if self.openblas is not None:
            kept = tuple(one for one in self.libraries if one.name not in ("blas", "lapack"))
            object.__setattr__(self, "libraries", kept)

    @property
    def backend(self) -> str:
        """The name of the only backend."""
        return "openblas" if self.openblas else "none"

    @property
    def has_fortran(self) -> bool:
        """Whether the build needs a Fortran compiler."""
        return any(name.endswith(FORTRAN) for name in self.sdist.compiled)

    @property
    def guesses(self) -> tuple[str, ...]:
        """What a person should check, one sentence each."""
        lines = [f"the licence of the project: {self.licence}"]
        lines.append(f"the compiler {self.compiler} and -O3: `armwheels bench` says whether they are good")
        if self.openblas is not None:
            lines.append(
                f"it links OpenBLAS of {self.openblas.name} {self.openblas.version}, and its licence"
            )
        for one in self.libraries:
            where = f"the part {one.part} has it" if one.part else f"no part has {', '.join(one.packages)}"
            lines.append(f"it links the system library {one.name} ({one.seen}): {where}")
        return tuple(lines)


def value(item: object) -> str:
    """A value as TOML."""
    return tomlkit.item(item).as_string()


def build_requires(frontend: str, declared: Sequence[str], uses_cmake: bool) -> tuple[str, ...]:
    """The requirements of a build: what the frontend needs, and what the source declares."""
    known = {name for name in map(_name_of, declared) if name is not None}
    always = (*_ALWAYS[frontend], *(("cmake", "ninja") if uses_cmake else ()))
    return tuple(dict.fromkeys([*(name for name in always if name not in known), *declared]))


def _name_of(requirement: str) -> str | None:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        return None


def recipe_text(draft: Draft) -> str:
    """The recipe as TOML, with its guesses as comments."""
    requires = build_requires(draft.frontend, draft.sdist.requires, draft.sdist.uses_cmake)
    limit = max(_SMALLEST_LIMIT, _SIZE_ROOM * (draft.wheel_bytes or 0))
    rounded = _rounded(limit)
    filename, sha256 = value(draft.file.filename), value(draft.file.sha256)
    source = f'{{ kind = "sdist", filename = {filename}, sha256 = {sha256} }}'
    lines = [
        f"# Written by `armwheels recipe new {draft.name} {draft.version}`. Check the lines that say guess.",
        *(f"# guess: {guess}" for guess in draft.guesses),
        f"name = {value(draft.name)}",
        f"about = {value(draft.about)}",
        "build_number = 1",
        "",
        f"[versions.{value(draft.version)}]",
        f"epoch = {draft.sdist.epoch}",
        f"source = {source}",
        "",
        "[build]",
        f"frontend = {value(draft.frontend)}",
        f"compiler = {value(draft.compiler)}",
        # libgfortran 5 of Debian 11 asks for glibc 2.29.
        f'glibc = "{"2.31" if draft.has_fortran else "2.28"}"',
        f"requires = {_listed(requires)}",
        'cflags = ["-O3"]  # guess',
    ]
    if draft.stable_abi:
        lines.append("stable_abi = true  # as PyPI's wheel")
    if draft.has_fortran:
        lines.append("fortran = true")
    if parts := [one.part for one in draft.libraries if one.part]:
        lines.append(f"libraries = {_listed(dict.fromkeys(parts))}  # guess")
    for one in draft.libraries:
        lines += [] if one.part else _missing_part(one)
    if draft.frontend in ("maturin", "setuptools-rust"):
        lines += ["", "[build.rust]", 'crates = "vendored"']
    lines += ["", f"[backends.{draft.backend}]", "default = true"]
    if draft.openblas is not None:
        lines += _openblas(draft.openblas)
    lines += ["", "[audit]"]
    origin = f": {_SIZE_ROOM} times PyPI's wheel" if draft.wheel_bytes else ""
    lines.append(f"max_size_bytes = {rounded}  # guess{origin}")
    if draft.openblas is not None:
        member = value(f"{draft.name.replace('-', '_')}.libs/libscipy_openblas*")
        lines += ["", "[[audit.allow]]", f"member = {member}", f"why = {value(ALLOWED)}"]
    lines += ["", "[verify]", f"script = {value(draft.script)}"]
    if draft.test_requires:
        lines.append(f"requires = {_listed(draft.test_requires)}")
    if draft.test_hint:
        lines.append(f"# The project tests its own wheels so: {draft.test_hint}")
    lines.append("timeout_minutes = 10")
    return "\n".join(lines) + "\n"


def _openblas(wheel: WheelDependency) -> list[str]:
    """The backend that links OpenBLAS from a wheel, every key of it."""
    keys = wheel.model_dump()
    return [
        f"options = {_listed(OPTIONS)}",
        "",
        "[[backends.openblas.dependencies]]",
        *(f"{name} = {_listed(one) if isinstance(one, tuple) else value(one)}" for name, one in keys.items()),
    ]


def _missing_part(one: LibraryGuess) -> list[str]:
    packages = ", ".join(f'"{package}"' for package in one.packages)
    return [
        f"# guess: {one.name} may be needed ({one.seen}). With a part of configs/toolchains.toml such as",
        f"#   [tools.lib{one.name}]",
        '#   kind = "debian", suite = "bullseye", architecture = "arm64",',
        f"#   packages = [{packages}, and those with its libraries]",
        f'# and `armwheels lock --part lib{one.name}`: libraries = ["lib{one.name}"]',
    ]


def _listed(items: Sequence[str] | dict[str, None]) -> str:
    """A list in one line, or one item a line where it is long."""
    values = [value(item) for item in items]
    line = f"[{', '.join(values)}]"
    return line if len(line) <= 90 else "[\n" + "".join(f"    {one},\n" for one in values) + "]"


def _rounded(number: int) -> str:
    """A number rounded up to two digits, with underscores."""
    scale = 10 ** (len(str(number)) - 2)
    return f"{math.ceil(number / scale) * scale:_}"


def matrix_text(name: str, version: str, pythons: Sequence[str], targets: Sequence[str], backend: str) -> str:
    """The matrix that builds a recipe, as TOML."""
    return (
        f"\n[{name}]\n"
        f"description = {value(f'{name}, as `armwheels recipe new` wrote it')}\n"
        f"\n[[{name}.cells]]\n"
        f"recipe = {value(name)}\n"
        f"versions = {_listed([version])}\n"
        f"pythons = {_listed(pythons)}\n"
        f"targets = {_listed(targets)}\n"
        f"backends = {_listed([backend])}\n"
    )


def test_hint(sdist: Sdist) -> str | None:
    """The test command of the project's own wheel builds (``[tool.cibuildwheel]``), in one line."""
    command = sdist.pyproject.get("tool", {}).get("cibuildwheel", {}).get("test-command")
    if isinstance(command, list):
        command = " && ".join(map(str, command))
    return re.sub(r"\s+", " ", command).strip()[:160] if isinstance(command, str) else None
