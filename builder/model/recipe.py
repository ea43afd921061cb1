"""What flows through the stages: recipes, matrices and builds, frozen and free of I/O."""

from __future__ import annotations

from typing import Annotated, Literal

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator, model_validator

from builder.model.base import Frozen, Name
from builder.model.expectations import Expectations
from builder.model.libraries import Backend, Framework
from builder.model.sources import Follow, Followed, VersionSource


class TargetOptions(Frozen):
    """What a recipe adds for one target."""

    options: tuple[str, ...] = ()


class Needs(Frozen):
    """What a build takes, as measured: memory of the largest job and disk in GiB, minutes of one processor."""

    memory_per_job_gib: Annotated[float, Field(gt=0)] = 0.5
    disk_gib: Annotated[float, Field(gt=0)] = 1
    cpu_minutes: Annotated[int, Field(gt=0)] | None = None

    def __str__(self) -> str:
        hours = f", about {self.cpu_minutes / 60:.0f} hours of one core" if self.cpu_minutes else ""
        return f"needs {self.memory_per_job_gib:g} GiB of memory a job, {self.disk_gib:g} GiB of disk{hours}"


class Component(Frozen):
    """A part of a recipe's own build that can be made, linked and run by itself in minutes.

    The build is configured as ever (``configure`` is what setup.py is given for that) and the ``targets`` of its
    build files are made. An ``extension`` (C++, in ``builder/wheel_tests``) is compiled against ``includes`` and
    linked with ``libraries``, paths in the tree, and ``script`` runs them under emulation.
    """

    about: str
    configure: tuple[str, ...]
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    libraries: Annotated[tuple[str, ...], Field(min_length=1)]
    includes: tuple[str, ...]
    extension: str
    script: str


class BazelStyle(Frozen):
    """How Bazel makes the wheel of one version.

    ``target`` is built with ``options``. Then either the one file below ``bazel-bin`` that matches ``wheel`` is it,
    or the program ``packer``, a path below ``bazel-bin``, is given the folder to write it to.
    """

    target: str
    options: tuple[str, ...] = ()
    packer: str | None = None
    wheel: str | None = None

    @model_validator(mode="after")
    def _one_way_to_the_wheel(self) -> BazelStyle:
        if (self.packer is None) == (self.wheel is None):
            raise ValueError("either `packer` or `wheel` says where the wheel comes from")
        return self


class BazelSettings(Frozen):
    """What the frontend ``bazel`` needs to know besides options.

    ``packaged`` are repositories taken from Bazel's own package instead of being downloaded, ``versions`` how each
    version of the recipe makes its wheel.
    """

    packaged: tuple[str, ...] = ()
    versions: dict[str, BazelStyle]


class BuildSettings(Frozen):
    """How the package's own build is run.

    ``options`` that begin with ``-D`` are CMake variables, whichever frontend calls it. ``programs`` and
    ``libraries`` are further parts of the toolbox: programs that run here, and headers and libraries for there.
    ``{part:NAME}``, ``{library:NAME}`` (one the backend builds), ``{site}`` (the build environment's site-packages)
    and ``{work}`` in options and environment stand for those folders, ``{version}`` for the version, ``{python}``
    for Python's (``3.11``); ``{l1d}``, ``{l2}`` and ``{l3}`` are the target's caches in bytes, ``{vector-bits}`` is
    the length of its SVE vectors, 0 without SVE.

    ``hot_paths`` are the units worth tuning, by shell patterns; none means all. ``dispatched`` are those among them
    that are called only where a CPU feature (archspec's name) was found at run time: a target without it compiles
    them for the baseline, so that all such targets share them.
    """

    frontend: Literal["meson-python", "setuptools", "scikit-build-core", "bazel"]
    compiler: str
    glibc: Annotated[str, Field(pattern=r"^2\.[0-9]+$")] = "2.28"
    requires: tuple[str, ...]
    options: tuple[str, ...] = ()
    cflags: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    meson_properties: dict[str, str] = Field(default_factory=dict)
    hot_paths: tuple[str, ...] = ()
    hot_flags: tuple[str, ...] = ()
    dispatched: dict[str, str] = Field(default_factory=dict)
    programs: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    needs: Needs = Needs()
    bazel: BazelSettings | None = None


class VerifySettings(Frozen):
    """What is run under emulation: a script of ``builder/wheel_tests`` and a part of the package's own suite.

    ``data`` are files of the source, which the script finds by their names in the folder ``data``.
    """

    script: str
    data: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    pytest: tuple[str, ...] = ()
    timeout_minutes: Annotated[int, Field(gt=0)] = 20


class Recipe(Frozen):
    """How one framework is built: ``configs/recipes/<name>.toml``.

    ``distribution`` is what it installs as, where that is not the recipe's own name. ``followed`` is no part of
    that file: it comes from ``configs/locks/<name>-followed.json``. ``extends`` makes it a framework's extension:
    kernels of one's own, loaded by the framework's wheel.
    """

    name: Name
    distribution: str | None = None
    about: str
    homepage: str
    build_number: Annotated[int, Field(ge=0)]
    build: BuildSettings
    versions: dict[str, VersionSource]
    follows: dict[Name, Follow] = Field(default_factory=dict)
    followed: dict[Name, Followed] = Field(default_factory=dict)
    backends: dict[Name, Backend]
    extends: Framework | None = None
    targets: dict[Name, TargetOptions] = Field(default_factory=dict)
    audit: Expectations = Expectations()
    promises: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    verify: VerifySettings
    components: dict[Name, Component] = Field(default_factory=dict)

    @field_validator("versions")
    @classmethod
    def _versions_are_pep440(cls, versions: dict[str, VersionSource]) -> dict[str, VersionSource]:
        for version in versions:
            try:
                parsed = Version(version)
            except InvalidVersion:
                raise ValueError(f"'{version}' is not a version (PEP 440)") from None
            if parsed.local:
                raise ValueError(f"'{version}' has a local part, which belongs to Armwheels")
        return versions

    @field_validator("promises")
    @classmethod
    def _promises_are_extensions(cls, promises: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for extensions in promises.values():
            Expectations(promises=extensions)
        return promises

    @model_validator(mode="after")
    def _one_default_backend(self) -> Recipe:
        defaults = [name for name, backend in self.backends.items() if backend.default]
        if len(defaults) != 1:
            raise ValueError(f"exactly one backend must have `default = true`; found {defaults or 'none'}")
        if self.backends[defaults[0]].licensed:
            raise ValueError(f"backend {defaults[0]} is licensed to its user and cannot be the default")
        return self

    @model_validator(mode="after")
    def _bazel_knows_each_version(self) -> Recipe:
        settings = self.build.bazel
        if (settings is None) == (self.build.frontend == "bazel"):
            raise ValueError("`[build.bazel]` belongs to the frontend bazel, and it to `[build.bazel]`")
        if settings is not None:
            if differ := sorted(set(settings.versions) ^ set(self.versions)):
                raise ValueError(f"`build.bazel.versions` and `versions` differ in {', '.join(differ)}")
            if any(b.dependencies or b.relinked or b.built for b in self.backends.values()):
                raise ValueError(
                    "Bazel builds its own libraries: a backend has options and environment alone"
                )
        return self

    @property
    def project(self) -> str:
        """The name on the index (PEP 503)."""
        return str(canonicalize_name(self.distribution or self.name))

    def with_followed(self, followed: dict[str, Followed]) -> Recipe:
        """The recipe with each pinned commit as a version; pins of what it no longer follows are dropped."""
        kept = {name: pinned for name, pinned in followed.items() if name in self.follows}
        sources = {pinned.version: self.follows[name].at(pinned) for name, pinned in kept.items()}
        return self.model_copy(update={"followed": kept, "versions": {**sources, **self.versions}})

    def version_of(self, named: str) -> str:
        """The version that a matrix means: its own name, or the one that a followed branch stands at."""
        return self.followed[named].version if named in self.followed else named

    @property
    def test_requires(self) -> tuple[str, ...]:
        """What stands beside the wheel under emulation: what its tests need, and the framework it extends."""
        framework = (self.extends.requirement,) if self.extends else ()
        return (*framework, *self.verify.requires)
