"""``configs/recipes/NAME.toml``: how one framework is built. Frozen data."""

from __future__ import annotations

from typing import Annotated, Literal

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator, model_validator

from builder.model.base import GLIBC_PATTERN, Config, Name
from builder.model.expectations import AuditSettings, known_extensions
from builder.model.libraries import Backend, Framework
from builder.model.sources import Follow, Followed, VersionSource


class TargetOptions(Config):
    """What the recipe adds for one CPU target."""

    options: tuple[str, ...] = ()
    """Build options of this target alone, after those of the recipe, the version and the backend."""


class Needs(Config):
    """Measured resources of a build."""

    memory_per_job_gib: Annotated[float, Field(gt=0)] = 0.5
    """Memory of the largest compile job in GiB; it limits the number of jobs."""
    disk_gib: Annotated[float, Field(gt=0)] = 1
    """Disk space of the build in GiB."""
    cpu_minutes: Annotated[int, Field(gt=0)] | None = None
    """Minutes that a cold build takes on one processor, for the estimate of ``armwheels plan``."""

    def __str__(self) -> str:
        hours = f", about {self.cpu_minutes / 60:.0f} hours of one core" if self.cpu_minutes else ""
        return f"needs {self.memory_per_job_gib:g} GiB of memory a job, {self.disk_gib:g} GiB of disk{hours}"


class Component(Config):
    """A part of the recipe that ``armwheels build --component NAME`` builds and runs alone.

    The frontend must be ``setuptools``, with CMake below it.
    """

    about: str
    """One line about the component, for readers of the file."""
    configure: tuple[str, ...]
    """Arguments of ``setup.py`` that configure the build."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    """CMake targets to build."""
    libraries: Annotated[tuple[str, ...], Field(min_length=1)]
    """Shared libraries that the targets give, as paths in the source tree."""
    includes: tuple[str, ...]
    """Include folders of the extension, as paths in the source tree."""
    extension: str
    """C++ file in ``builder/wheel_tests`` to compile and to link with the libraries."""
    script: str
    """Script in ``builder/wheel_tests`` to run under emulation."""


class BazelStyle(Config):
    """How Bazel makes the wheel of one version.

    The wheel comes either from the program ``packer`` or from the file that matches ``wheel``.
    """

    target: str
    """Label of the Bazel target to build."""
    options: tuple[str, ...] = ()
    """Bazel options of this version."""
    packer: str | None = None
    """Program below ``bazel-bin`` that writes the wheel to the folder it is given."""
    wheel: str | None = None
    """Glob below ``bazel-bin`` that matches the one wheel."""

    @model_validator(mode="after")
    def _one_way_to_the_wheel(self) -> BazelStyle:
        if (self.packer is None) == (self.wheel is None):
            raise ValueError("exactly one of `packer` and `wheel` must be given")
        return self


class BazelSettings(Config):
    """Settings of the frontend ``bazel``."""

    packaged: tuple[str, ...] = ()
    """Repositories to take from Bazel's own package instead of downloading them."""
    versions: dict[str, BazelStyle]
    """How Bazel makes the wheel of each version of the recipe."""


class RustSettings(Config):
    """Settings of the frontends ``maturin`` and ``setuptools-rust``."""

    crates: Literal["vendored", "registry"]
    """Where the crates come from: a folder of the source, or the registry that the user's own cargo names."""


class BuildSettings(Config):
    """How the package's own build runs.

    Options and environment variables may contain these placeholders: ``{part:NAME}`` (folder of a toolbox part),
    ``{library:NAME}`` (folder of a library that the backend builds), ``{site}`` (site-packages of the build
    environment), ``{work}`` (work folder), ``{version}``, ``{python}`` (such as ``3.11``), ``{l1d}``, ``{l2}``,
    ``{l3}`` (caches of the target in bytes) and ``{vector-bits}`` (length of its SVE vectors, 0 without SVE).
    """

    frontend: Literal[
        "meson-python",
        "setuptools",
        "scikit-build-core",
        "maturin",
        "setuptools-rust",
        "bazel",
        "cibuildwheel",
    ]
    """Build backend of the package; ``cibuildwheel`` runs any in a manylinux container, on arm64 hosts alone."""
    compiler: str
    """Compiler of ``toolchains.toml``."""
    glibc: Annotated[str, Field(pattern=GLIBC_PATTERN)] = "2.28"
    """Newest glibc that the wheel may require; compiler and linker see that one."""
    requires: tuple[str, ...]
    """Build requirements (:pep:`508`), pinned by ``armwheels lock``."""
    stable_abi: bool = False
    """Whether wheels have the stable ABI (:pep:`384`). One is built for a block's oldest Python; all test it."""
    options: tuple[str, ...] = ()
    """Build options of the frontend; those that begin with ``-D`` are CMake variables or Meson options."""
    config_settings: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """Config settings (:pep:`517`) for the build backend, after those of the frontend."""
    cflags: tuple[str, ...] = ()
    """Compiler options for C and C++. With setuptools they follow those of CPython (``-O2 -DNDEBUG -fwrapv``)."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the build."""
    meson_properties: dict[str, str] = Field(default_factory=dict)
    """Properties of Meson's cross file; for ``meson-python`` alone."""
    hot_paths: tuple[str, ...] = ()
    """Shell patterns of compile units to tune; others are compiled for the baseline. Without it all are tuned."""
    hot_flags: tuple[str, ...] = ()
    """Compiler options of the tuned units alone."""
    fortran: bool = False
    """Whether the package has Fortran, so that the build gets the Fortran compiler of ``compiler``."""
    dispatched: dict[str, str] = Field(default_factory=dict)
    """Patterns of hot units called only where a CPU feature was found; targets without it compile them untuned."""
    programs: tuple[str, ...] = ()
    """Parts of the toolbox whose programs the build runs."""
    libraries: tuple[str, ...] = ()
    """Parts of the toolbox with arm64 headers and libraries for the build."""
    needs: Needs = Needs()
    """Measured resources of a build."""
    bazel: BazelSettings | None = None
    """Settings of the frontend ``bazel``."""
    rust: RustSettings | None = None
    """Settings of the frontends ``maturin`` and ``setuptools-rust``."""

    @model_validator(mode="after")
    def _keys_belong_to_the_frontend(self) -> BuildSettings:
        if self.meson_properties and self.frontend != "meson-python":
            raise ValueError("`meson_properties` is for the frontend meson-python alone")
        if (self.bazel is None) == (self.frontend == "bazel"):
            raise ValueError("`[build.bazel]` and the frontend bazel need each other")
        if (self.rust is not None) != (self.frontend in ("maturin", "setuptools-rust")):
            raise ValueError("`[build.rust]` and the frontends maturin and setuptools-rust need each other")
        if self.frontend == "bazel" and self.programs:
            raise ValueError("`programs` is not for the frontend bazel, which has its own root")
        return self


class VerifySettings(Config):
    """What runs under emulation."""

    script: str
    """Script in ``builder/wheel_tests`` to run."""
    data: tuple[str, ...] = ()
    """Files of the source that the script finds by name in its folder ``data``."""
    requires: tuple[str, ...] = ()
    """Test requirements (:pep:`508`), pinned by ``armwheels lock``."""
    pytest: tuple[str, ...] = ()
    """Tests of the package's own suite, as pytest node ids below site-packages."""
    pytest_select: str = ""
    """Expression of pytest's option ``-k``, which chooses among these tests. Empty: all of them run."""
    timeout_minutes: Annotated[int, Field(gt=0)] = 20
    """Time limit of each test program in minutes."""


class Slower(Config):
    """A workload that may take more instructions than with the wheels that people have."""

    workload: str
    """Shell pattern of names of workloads, such as ``sort-*``."""
    limit: Annotated[float, Field(gt=1)]
    """Instructions, divided by those of the other wheel, that are allowed at most. A failure never is."""
    why: str
    """The reason. Reports show it."""
    targets: tuple[Name, ...] = ()
    """CPU targets for which it holds; all without it."""


class BenchSettings(Config):
    """Rules of the comparison with the wheels that people have."""

    allow: tuple[Slower, ...] = ()
    """Workloads that may be slower."""


class RecipeFile(Config):
    """A recipe as it is written in ``configs/recipes/NAME.toml``."""

    name: Name
    """Name of the recipe; the file has the same name."""
    distribution: str | None = None
    """Project name of the wheel, where it differs from the recipe's name."""
    about: str
    """One line about the recipe, for readers of the file."""
    build_number: Annotated[int, Field(ge=0)]
    """Number in front of the build tag; a higher number wins over wheels of the same version."""
    build: BuildSettings
    """How the package's own build runs."""
    versions: dict[str, VersionSource]
    """Source of each version."""
    follows: dict[Name, Follow] = Field(default_factory=dict)
    """Branches and tags of git repositories to build from."""
    backends: dict[Name, Backend]
    """Mathematics libraries that the recipe can be built with."""
    extends: Framework | None = None
    """Framework that this recipe extends with kernels."""
    targets: dict[Name, TargetOptions] = Field(default_factory=dict)
    """Additional settings of single CPU targets."""
    audit: AuditSettings = AuditSettings()
    """Rules of the audit."""
    promises: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    """Arm extensions that the code of each target must contain, such as ``sve``; the audit checks them."""
    verify: VerifySettings
    """What runs under emulation."""
    bench: BenchSettings = BenchSettings()
    """Rules of the comparison with the wheels that people have."""
    components: dict[Name, Component] = Field(default_factory=dict)
    """Parts of the recipe that can be built and run alone."""

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
            known_extensions(extensions)
        return promises

    @model_validator(mode="after")
    def _one_default_backend(self) -> RecipeFile:
        defaults = [name for name, backend in self.backends.items() if backend.default]
        if len(defaults) != 1:
            raise ValueError(f"exactly one backend must have `default = true`; found {defaults or 'none'}")
        if self.backends[defaults[0]].licensed:
            raise ValueError(f"backend {defaults[0]} is licensed to its user and cannot be the default")
        return self

    @model_validator(mode="after")
    def _tables_fit_the_frontend(self) -> RecipeFile:
        if self.components and self.build.frontend != "setuptools":
            raise ValueError("`components` is for the frontend setuptools alone")
        if (settings := self.build.bazel) is not None:
            if differ := sorted(set(settings.versions) ^ set(self.versions)):
                raise ValueError(f"`build.bazel.versions` and `versions` differ in {', '.join(differ)}")
            if any(backend.all for backend in self.backends.values()):
                raise ValueError(
                    "Bazel builds its own libraries: a backend may have options and environment alone"
                )
        return self

    def with_followed(self, followed: dict[str, Followed]) -> Recipe:
        """The recipe with each pinned commit as a version; pins of what it no longer follows are dropped."""
        kept = {name: pinned for name, pinned in followed.items() if name in self.follows}
        sources = {pinned.version: self.follows[name].at(pinned) for name, pinned in kept.items()}
        written = {name: getattr(self, name) for name in RecipeFile.model_fields}
        return Recipe(**{**written, "followed": kept, "versions": {**sources, **self.versions}})


class Recipe(RecipeFile):
    """How one framework is built: the recipe's file, and the commits at which what it follows is pinned."""

    followed: dict[Name, Followed] = Field(default_factory=dict)
    """Pinned commits of what the recipe follows, from ``configs/locks/NAME-followed.json``."""

    @property
    def project(self) -> str:
        """The name on the index (PEP 503)."""
        return str(canonicalize_name(self.distribution or self.name))

    @property
    def followed_versions(self) -> frozenset[str]:
        """The versions that are pinned commits of what the recipe follows."""
        return frozenset(pinned.version for pinned in self.followed.values())

    def version_of(self, named: str) -> str:
        """The version that a matrix means: its own name, or the one that a followed branch stands at."""
        return self.followed[named].version if named in self.followed else named

    @property
    def test_requires(self) -> tuple[str, ...]:
        """What is installed beside the wheel under emulation: test requirements and the extended framework."""
        framework = (self.extends.requirement,) if self.extends else ()
        return (*framework, *self.verify.requires)
