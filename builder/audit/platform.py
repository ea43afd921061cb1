"""Checks the platform tag with auditwheel's policies and symbol analysis."""

from __future__ import annotations

import importlib.metadata
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from auditwheel.architecture import Architecture
from auditwheel.error import AuditwheelError
from auditwheel.libc import Libc
from auditwheel.policy import ExternalReference, WheelPolicies
from auditwheel.wheel_abi import WheelAbIInfo, analyze_wheel_abi, get_wheel_elfdata
from elftools.common.exceptions import ELFError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.audit.archive import WheelFile
from builder.audit.elf import Elf, MalformedElfError, without_definitions
from builder.audit.loaded import Loaded
from builder.audit.verdicts import Verdict, failed, not_applicable, passed
from builder.model.expectations import Supplied

# The tags of PEP 600 and PEP 656, and the older tag of PEP 599 for glibc 2.17.
_TAG = re.compile(r"^(manylinux|musllinux)_(\d+)_(\d+)_aarch64$")
_LEGACY = {"manylinux2014_aarch64": "manylinux_2_17_aarch64"}
_VERSIONED = ("GLIBC", "GLIBCXX", "CXXABI", "GCC")
# Exceptions that auditwheel raises for malformed wheels.
_CANNOT = (
    AuditwheelError,
    ELFError,
    MalformedElfError,
    RuntimeError,
    ValueError,
    AssertionError,
    AttributeError,
    TypeError,
    ArithmeticError,
    LookupError,
    OSError,
)
_DUAL_ABI, _DUAL_ABI_NAME = "3.4.21", "7__cxx11"
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Claim:
    """A platform tag, with the C library and the version that it requires."""

    tag: str
    libc: str
    version: tuple[int, int]


def claims(wheel: WheelFile) -> tuple[list[Claim], list[str]]:
    """Return the platform tags of the file name as claims, lowest first, and the tags that are not claims."""
    found, strange = [], []
    for tag in sorted(wheel.platforms):
        match = _TAG.match(_LEGACY.get(tag, tag))
        if match:
            found.append(Claim(tag, match[1], (int(match[2]), int(match[3]))))
        else:
            strange.append(tag)
    return sorted(found, key=lambda one: one.version), strange


def check_tag(wheel: WheelFile, elves: Iterable[Elf]) -> Verdict:
    """Check that file name and ``WHEEL`` have the same tags, and that each is a platform tag for aarch64.

    Only programs that need no C library may claim glibc and musl at once.
    """
    check = "tag"
    name, metadata = ({str(tag) for tag in tags} for tags in (wheel.tags, wheel.metadata_tags))
    data = {"filename": sorted(name), "metadata": sorted(metadata)}
    if name != metadata:
        return failed(
            check,
            f"file name has {_some(name - metadata)}, WHEEL has {_some(metadata - name)} instead",
            **data,
        )
    if wheel.is_pure:
        return passed(check, "any platform, in file name and WHEEL", **data)
    found, strange = claims(wheel)
    if strange:
        return failed(check, f"{', '.join(strange)}: not a manylinux or musllinux tag for 64-bit Arm", **data)
    bound = [one.member for one in elves if one.needed]
    if len({one.libc for one in found}) > 1 and bound:
        return failed(check, f"claims glibc and musl at once, but {bound[0]} needs a C library", **data)
    return passed(check, f"{', '.join(one.tag for one in found)}, in file name and WHEEL", **data)


def check_platform(
    wheel: WheelFile, elves: Iterable[Elf], supplied: Supplied | None = None
) -> tuple[Verdict, Verdict]:
    """Check the binaries against auditwheel's policy for the lowest claimed tag.

    Return two verdicts:

    * ``symbols``: no symbol version is newer than the policy allows.
    * ``libraries``: every needed library is in the wheel, is allowed by the policy, or is ``supplied`` by a
      distribution that the wheel requires.
    """
    if wheel.is_pure:
        return not_applicable("symbols", "no machine code"), not_applicable("libraries", "no machine code")
    found, strange = claims(wheel)
    if strange or not found:
        why = "no manylinux or musllinux tag to check against"
        return failed("symbols", why), failed("libraries", why)
    binaries = list(elves)
    if not any(one.needed for one in binaries):
        why = "needs no shared library"
        return passed("symbols", why, needs={}, claims=found[0].tag), passed("libraries", why)
    if found[0].libc == "musllinux" and found[0].tag not in _policies(Libc.MUSL):
        tool = importlib.metadata.version("auditwheel")
        why = f"not judged: auditwheel {tool} has no policy for {found[0].tag}"
        return not_applicable("symbols", why), not_applicable("libraries", why)
    try:
        info = _analyze(wheel, binaries, found[0].libc, supplied)
    except _CANNOT as error:
        why = f"auditwheel cannot analyse it: {' '.join(str(error).split()) or type(error).__name__}"
        return failed("symbols", why), failed("libraries", why)
    return _symbols(found[0], info, binaries), _libraries(found[0], info, wheel, supplied)


def _policies(libc: Libc) -> set[str]:
    """Return the names of auditwheel's policies for a C library."""
    return {policy.name for policy in WheelPolicies(libc=libc, arch=Architecture.aarch64)}


def _analyze(wheel: WheelFile, elves: list[Elf], libc: str, supplied: Supplied | None) -> WheelAbIInfo:
    # auditwheel unpacks all files of a wheel, and reads all dynamic symbols of ELF files. So it gets a wheel with
    # these files alone, and with the symbols that it looks for: half of the time of an audit of torch.
    with TemporaryDirectory(prefix="armwheels-audit-") as folder:
        path = Path(folder) / wheel.path.name
        files = [one for one in elves if one.is_loadable]
        with zipfile.ZipFile(path, "w") as archive:
            for one in files:
                with archive.open(one.member, "w", force_zip64=True) as member:
                    member.writelines(without_definitions(one))
            record = "".join(f"{_quoted(one.member)},,\n" for one in files)
            archive.writestr(f"{wheel.dist_info}/RECORD", record)
        try:
            return analyze_wheel_abi(
                Libc.GLIBC if libc == "manylinux" else Libc.MUSL,
                Architecture.aarch64,
                path,
                frozenset(supplied.libraries if supplied else ()),
                disable_isa_ext_check=True,
                allow_graft=False,
                args_ldpaths="",  # this machine's libraries must not be used
            )
        finally:
            get_wheel_elfdata.cache_clear()  # its keys are paths, and this file is deleted


def _quoted(name: str) -> str:
    """Return a field of RECORD in CSV quotes."""
    return '"' + name.replace('"', '""') + '"'


def _symbols(lowest: Claim, info: WheelAbIInfo, elves: list[Elf]) -> Verdict:
    check = "symbols"
    needs: dict[str, str] = {}
    for versions in info.versioned_symbols.values():
        for version in versions:
            family = version.partition("_")[0]
            if family in _VERSIONED and _key(version) > _key(needs.get(family, "")):
                needs[family] = version
    proven = info.sym_policy.name
    data = {"needs": needs, "proves": proven, "claims": lowest.tag}
    summary = ", ".join(needs[family] for family in _VERSIONED if family in needs) or "no versioned symbol"
    least = _version(proven)
    if lacking := _lacking(lowest, info, elves):
        return failed(check, lacking, **data)
    if least is not None and least <= lowest.version:
        return passed(check, f"needs {summary}: {proven}", **data)
    granted = _granted(lowest, info)
    symbols = granted.policy.symbol_versions if granted else {}
    where = [
        f"{one.member} needs {version} of {library}"
        for one in elves
        for library, version in one.versions
        if (parts := version.partition("_"))[0] in symbols and parts[2] not in symbols[parts[0]]
    ]
    allowed = (
        f"{proven} is the lowest tag that they allow" if least else "no manylinux tag allows the symbols"
    )
    return failed(
        check, "\n".join([f"{lowest.tag} is claimed, but {allowed}: {summary}", *where[:3]]), **data
    )


def _lacking(lowest: Claim, info: WheelAbIInfo, elves: list[Elf]) -> str | None:
    """Return what a file needs of libstdc++ without a version, and no libstdc++ of the tag has; None for nothing.

    The names of ``std::__cxx11`` came with ``GLIBCXX_3.4.21``, that is GCC 5.1 (libstdc++ manual, "Dual ABI").
    """
    granted = _granted(lowest, info)
    if granted is None or _DUAL_ABI in granted.policy.symbol_versions.get("GLIBCXX", ()):
        return None
    wanted = {
        one.member: [name for name in one.unversioned if _DUAL_ABI_NAME in name]
        for one in elves
        if any(library.startswith("libstdc++.so") for library in one.needed)
    }
    if not any(wanted.values()):
        return None
    supplied = {name for one in elves if one.is_loadable for name in Loaded(one).exports}
    for member, names in wanted.items():
        left = [name for name in names if name not in supplied]
        if left:
            first = f"{len(left)} undefined symbols of std::__cxx11 without a version, such as {left[0]}"
            return f"{member}: {first}; the libstdc++ of {lowest.tag} has none of them (GLIBCXX_3.4.21 added them)"
    return None


def _libraries(lowest: Claim, info: WheelAbIInfo, wheel: WheelFile, supplied: Supplied | None) -> Verdict:
    check = "libraries"
    granted = _granted(lowest, info)
    if granted is None:
        return failed(check, f"auditwheel has no policy for {lowest.tag}")
    foreign, forbidden = sorted(granted.libs), sorted(granted.blacklist)
    data = {"policy": granted.policy.name, "missing": foreign, "forbidden": forbidden}
    if foreign:
        return failed(
            check, f"neither in the wheel nor allowed by {lowest.tag}: {', '.join(foreign)}", **data
        )
    if forbidden:
        return failed(check, f"symbols that {lowest.tag} forbids, of {', '.join(forbidden)}", **data)
    if supplied is None:
        return passed(check, f"all in the wheel or allowed by {granted.policy.name}", **data)
    requirement = Requirement(supplied.requirement)
    if not any(_same(requirement, line) for line in wheel.requirements):
        others = ", ".join(wheel.requirements) or "nothing"
        why = f"{requirement} supplies {', '.join(supplied.libraries)}, but METADATA requires {others}"
        return failed(check, why, **data)
    return passed(
        check,
        f"all in the wheel, allowed by {granted.policy.name}, or supplied by {requirement}, which it requires",
        **data,
    )


def _same(requirement: Requirement, line: str) -> bool:
    """Whether a ``Requires-Dist`` line is the same requirement, without an environment marker."""
    try:
        found = Requirement(line)
    except InvalidRequirement:
        return False
    names = {canonicalize_name(one.name) for one in (requirement, found)}
    return len(names) == 1 and found.specifier == requirement.specifier and found.marker is None


def _granted(lowest: Claim, info: WheelAbIInfo) -> ExternalReference | None:
    """Return auditwheel's references beyond the best policy that the claimed tag includes; ``None`` without one."""
    fitting = [
        (least, reference)
        for reference in info.external_refs.values()
        if (least := _version(reference.policy.name)) and least <= lowest.version
    ]
    return max(fitting, key=lambda one: one[0])[1] if fitting else None


def _version(policy: str) -> tuple[int, int] | None:
    """Return the C library version in a policy's name; ``None`` for the ``linux`` policy."""
    match = _TAG.match(policy)
    return (int(match[2]), int(match[3])) if match else None


def _key(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBERS.findall(text))


def _some(tags: set[str]) -> str:
    return ", ".join(sorted(tags)) or "nothing more"
