"""What flows through the stages: recipes, matrices and builds, frozen and free of I/O."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator, model_validator

from builder.audit import Expectations, Supplied
from builder.settings import Frozen

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
PythonTag = Annotated[str, Field(pattern=r"^cp3[0-9]+$")]


class Patch(Frozen):
    """A patch of our own, kept beside the recipe and pinned by hash."""

    file: str
    sha256: Sha256


class SdistSource(Frozen):
    """A source distribution of PyPI."""

    kind: Literal["sdist"]
    filename: str
    sha256: Sha256


class ArchiveSource(Frozen):
    """A tar archive at an address, or a file beside the recipe."""

    kind: Literal["archive"]
    url: str
    sha256: Sha256


class GitSource(Frozen):
    """A commit of a git repository, with its submodules; the commit's hash pins the content."""

    kind: Literal["git"]
    url: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    submodules: bool = True


class DebianFile(Frozen):
    """One file of a Debian source package; ``into`` is where an extra original tarball belongs."""

    path: str
    sha256: Sha256
    into: str = "."


class SdistPart(Frozen):
    """A source distribution of PyPI laid into a folder of a larger tree."""

    project: str
    filename: str
    sha256: Sha256
    into: str


class Placed(Frozen):
    """A folder of the tree that is to be found at another place as well, such as an embedded copy's."""

    folder: str
    at: str


class DebianSource(Frozen):
    """A Debian source package: original tarballs, and the patches chosen from its ``debian/patches``.

    What a distribution keeps apart from the package (embedded libraries) is laid back into the tree: tarballs of
    other source packages by ``files``, others by ``sdists``, folders of the packaging itself by ``placed``.
    """

    kind: Literal["debian"]
    files: tuple[DebianFile, ...]
    sdists: tuple[SdistPart, ...] = ()
    placed: tuple[Placed, ...] = ()
    quilt: tuple[str, ...] = ()


class Taken(Frozen):
    """Files of a tarball of Debian's archive: ``keep`` are paths below its top folder, and keep their names."""

    path: str
    sha256: Sha256
    keep: Annotated[tuple[str, ...], Field(min_length=1)]


class FolderSource(Frozen):
    """A folder of the project or, by an absolute path, of this machine: one's own code, where it is written.

    Its files are the pin. ``sha256`` covers them all and is filled in when the recipe is loaded
    (:func:`builder.source.pin_folders`); a recipe that states it holds the folder to it. Where the folder lies
    counts for nothing. ``taken`` lays others' files beside them, which are so never copied into the folder.
    """

    kind: Literal["folder"]
    path: str
    sha256: Sha256 | None = None
    taken: tuple[Taken, ...] = ()


Source = Annotated[
    SdistSource | ArchiveSource | GitSource | DebianSource | FolderSource, Field(discriminator="kind")
]


class VersionSource(Frozen):
    """Where one version of a recipe comes from. ``epoch`` is its SOURCE_DATE_EPOCH, seconds since 1970.

    ``options`` and ``environment`` are what this source alone wants, after those of the recipe.
    """

    source: Source
    patches: tuple[Patch, ...] = ()
    epoch: Annotated[int, Field(ge=315532800)]
    options: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)


class Follow(Frozen):
    """A branch or tag of a git repository; ``armwheels lock --recipe NAME`` pins the commit it stands at.

    A branch's commit becomes the version X.Y.Z.devYYYYMMDD (:pep:`440`): X.Y.Z stands in ``version_file``, the date
    is the commit's own, in UTC. A tag's is the version that the tag names. Matrices name it by its key.
    """

    url: str
    ref: str
    version_file: str = "version.txt"
    patches: tuple[Patch, ...] = ()
    options: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)

    def at(self, pinned: Followed) -> VersionSource:
        """The source as of a pinned commit."""
        return VersionSource(
            source=GitSource(kind="git", url=self.url, commit=pinned.commit),
            epoch=pinned.epoch,
            **self.model_dump(include={"patches", "options", "environment"}),
        )


class Followed(Frozen):
    """Where a followed branch or tag stood when it was pinned; ``epoch`` is the commit's date."""

    version: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    epoch: Annotated[int, Field(ge=315532800)]


class WheelDependency(Frozen):
    """A library taken ready-made from a wheel of PyPI, and described to the build by pkg-config.

    ``libraries`` and ``headers`` are folders inside the wheel. It is machine code that others compiled, and the
    passport says so.
    """

    name: str
    version: str
    filename: str
    sha256: Sha256
    libraries: str
    headers: str
    pkg_config: str
    link: str
    cflags: tuple[str, ...] = ()
    licence: str
    licence_files: tuple[str, ...]


class Framework(Frozen):
    """The framework a recipe extends: a wheel of PyPI to compile and link against, of which nothing is copied.

    ``headers`` are folders inside the wheel, ``libraries`` the shared libraries there that an extension may need:
    the framework has loaded them before. The extension's own metadata requires this version, so that an installer
    brings it; the audit sees to that.
    """

    name: str
    version: str
    filename: str
    sha256: Sha256
    headers: Annotated[tuple[str, ...], Field(min_length=1)]
    libraries: Annotated[tuple[str, ...], Field(min_length=1)]

    @property
    def requirement(self) -> str:
        """What the extension's metadata must ask for (:pep:`508`)."""
        return f"{self.name}=={self.version}"

    @property
    def supplied(self) -> Supplied:
        """What an extension's wheel may lean on without holding it."""
        sonames = tuple(library.rsplit("/", 1)[-1] for library in self.libraries)
        return Supplied(requirement=self.requirement, libraries=sonames)


class StaticDependency(Frozen):
    """A static library of a part of the toolbox, linked anew into a shared one against the target's own sysroot.

    Machine code that others compiled, and the passport says so; but what it needs of the C library is what the
    sysroot has, so that it runs where the wheel's tag says. ``archive`` (a glob; all that fit make one library) and
    ``headers`` are paths inside the part. ``{library:NAME}`` in ``link`` is a folder, as in build settings.
    """

    name: str
    part: str
    package: str
    archive: str
    headers: str
    soname: str
    link: tuple[str, ...] = ()
    licence: str
    licence_files: tuple[str, ...]


class BuiltDependency(Frozen):
    """A library built from its own source by CMake, for the baseline: it picks its kernels at run time.

    No target's flags reach it, so all targets share the one result. ``targets`` are what CMake is to build,
    ``libraries`` what comes of it (paths in the build folder), ``headers`` folders of the source, each by the name
    it has among include folders (``.`` for one whose own content belongs there).
    """

    name: Name
    version: str
    source: VersionSource
    options: tuple[str, ...] = ()
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    libraries: Annotated[tuple[str, ...], Field(min_length=1)]
    headers: dict[str, str]
    licence: str
    licence_files: Annotated[tuple[str, ...], Field(min_length=1)]


class Backend(Frozen):
    """One mathematics library a recipe can be built with.

    ``licensed`` is the variable that names the user's own copy of a library which may not be passed on: without it
    there is no such build, and what is built stays on this machine.
    """

    default: bool = False
    licensed: Annotated[str | None, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = None
    options: tuple[str, ...] = ()
    dependencies: tuple[WheelDependency, ...] = ()
    relinked: tuple[StaticDependency, ...] = ()
    built: tuple[BuiltDependency, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)


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


class Cells(Frozen):
    """A block of a matrix: the product of its lists."""

    recipe: Name
    versions: Annotated[tuple[str, ...], Field(min_length=1)]
    pythons: Annotated[tuple[PythonTag, ...], Field(min_length=1)]
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    backends: Annotated[tuple[Name, ...], Field(min_length=1)]
    required: bool = False


class Matrix(Frozen):
    """One table of ``configs/matrices.toml``.

    Where it is ``closed``, a night takes in what its wheels depend on, too: one ``--index-url`` is enough.
    """

    description: str
    closed: bool = False
    cells: Annotated[tuple[Cells, ...], Field(min_length=1)]


class Build(Frozen):
    """One cell of a matrix, with everything the later stages need and the digests that name its outputs.

    ``compile_inputs`` is what the compiler sees, as plain data; ``compile_digest`` is its sha256, and
    ``wheel_digest`` adds what repair does. ``environment`` is what the recipe, its source and its backend set for
    the package's own build. ``foreign_paths`` are units that are called on other targets' CPUs alone.
    """

    id: str
    recipe: Recipe
    version: str
    python: PythonTag
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
        parts = [self.target] if self.default_backend else [self.target, self.backend]
        return ".".join(parts).replace("-", ".")

    @property
    def full_version(self) -> str:
        return f"{self.version}+{self.local}"

    @property
    def build_tag(self) -> str:
        """The build number and the first eight digits of the wheel digest."""
        return f"{self.recipe.build_number}_{self.wheel_digest[:8]}"
