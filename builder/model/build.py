"""One cell of a matrix, with what every later stage needs. Frozen data."""

from __future__ import annotations

from typing import Any

from builder.model.base import Frozen, Name, PythonTag, Sha256
from builder.model.libraries import BuiltDependency, Framework, StaticDependency, WheelDependency
from builder.model.recipe import Recipe
from builder.model.sources import VersionSource
from builder.model.wheel_name import build_tag, local_version


class Build(Frozen):
    """One cell of a matrix, with everything the later stages need and the digests that name its outputs.

    ``compile_inputs`` is what the compiler sees, as plain data; ``compile_digest`` is its sha256, and
    ``wheel_digest`` adds what repair does. ``environment`` is what the recipe, its source and its backend set for
    the package's own build. ``tested`` has the Pythons besides ``python`` on which a wheel of the stable ABI is
    tested. ``foreign_paths`` are units that are called on other targets' CPUs alone.
    """

    id: str
    recipe: Recipe
    version: str
    python: PythonTag
    tested: tuple[PythonTag, ...] = ()
    identifier: str
    target: Name
    backend: Name
    required: bool
    compiler: str
    compiler_version: str
    flags: tuple[str, ...]
    foreign_paths: tuple[str, ...]
    options: tuple[str, ...]
    environment: dict[str, str]
    compile_inputs: dict[str, Any]
    compile_digest: Sha256
    wheel_digest: Sha256

    @property
    def source(self) -> VersionSource:
        return self.recipe.versions[self.version]

    @property
    def framework(self) -> Framework | None:
        """The framework that the recipe extends, with its wheel for this build's Python."""
        return self.recipe.extends.on(self.python) if self.recipe.extends else None

    @property
    def dependencies(self) -> tuple[WheelDependency, ...]:
        return self.recipe.backends[self.backend].dependencies

    @property
    def relinked(self) -> tuple[StaticDependency, ...]:
        return self.recipe.backends[self.backend].relinked

    @property
    def built(self) -> tuple[BuiltDependency, ...]:
        return self.recipe.backends[self.backend].built

    @property
    def default_backend(self) -> bool:
        return self.recipe.backends[self.backend].default

    @property
    def licensed(self) -> str | None:
        """The variable that names the licensed library of this build; such a build is never published."""
        return self.recipe.backends[self.backend].licensed

    @property
    def local(self) -> str:
        """The local version: the target, then a backend that is not the default (PEP 440)."""
        return local_version(self.target, None if self.default_backend else self.backend)

    @property
    def full_version(self) -> str:
        return f"{self.version}+{self.local}"

    @property
    def build_tag(self) -> str:
        """The build number and the first eight digits of the wheel digest."""
        return build_tag(self.recipe.build_number, self.wheel_digest)
