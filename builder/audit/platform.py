"""Does the platform tag hold? auditwheel's policies and symbol analysis, and nothing of our own, decide."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from auditwheel.architecture import Architecture
from auditwheel.error import AuditwheelError
from auditwheel.libc import Libc
from auditwheel.policy import ExternalReference
from auditwheel.wheel_abi import WheelAbIInfo, analyze_wheel_abi, get_wheel_elfdata
from elftools.common.exceptions import ELFError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.audit.archive import WheelFile
from builder.audit.elf import Elf
from builder.audit.verdicts import Verdict, failed, not_applicable, passed
from builder.model.expectations import Supplied

# PEP 600's names, and PEP 599's older one for glibc 2.17.
_TAG = re.compile(r"^(manylinux|musllinux)_(\d+)_(\d+)_aarch64$")
_LEGACY = {"manylinux2014_aarch64": "manylinux_2_17_aarch64"}
_VERSIONED = ("GLIBC", "GLIBCXX", "CXXABI", "GCC")
# What auditwheel raises of its own and lets through for wheels that do not hold together.
_CANNOT = (AuditwheelError, ELFError, RuntimeError, ValueError, AssertionError, LookupError, OSError)
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Claim:
    """A platform tag: which C library, and the version it asks for."""

    tag: str
    libc: str
    version: tuple[int, int]


def claims(wheel: WheelFile) -> tuple[list[Claim], list[str]]:
    """The file name's platform tags as claims, lowest first; and those that are none."""
    found, strange = [], []
    for tag in sorted(wheel.platforms):
        match = _TAG.match(_LEGACY.get(tag, tag))
        if match:
            found.append(Claim(tag, match[1], (int(match[2]), int(match[3]))))
        else:
            strange.append(tag)
    return sorted(found, key=lambda one: one.version), strange


def check_tag(wheel: WheelFile) -> Verdict:
    """The file name's tags are those of ``WHEEL``, and each is a platform that Arm wheels may claim."""
    check = "tag"
    name, metadata = ({str(tag) for tag in tags} for tags in (wheel.tags, wheel.metadata_tags))
    data = {"filename": sorted(name), "metadata": sorted(metadata)}
    if name != metadata:
        return failed(
            check,
            f"file name says {_some(name - metadata)}, WHEEL says {_some(metadata - name)} instead",
            **data,
        )
    if wheel.is_pure:
        return passed(check, "any platform, in file name and WHEEL", **data)
    found, strange = claims(wheel)
    if strange:
        return failed(
            check, f"{', '.join(strange)} promises no C library on 64-bit Arm that could be checked", **data
        )
    if len({one.libc for one in found}) > 1:
        return failed(check, "claims glibc and musl at once", **data)
    return passed(check, f"{', '.join(one.tag for one in found)}, in file name and WHEEL", **data)


def check_platform(
    wheel: WheelFile, elves: Iterable[Elf], supplied: Supplied | None = None
) -> tuple[Verdict, Verdict]:
    """Verdicts ``symbols`` and ``libraries``: what the binaries need is what the lowest claimed tag grants.

    ``symbols``: no symbol version newer than the tag's policy. ``libraries``: every needed library lies in
    the wheel, is granted by the policy, or is ``supplied`` by a distribution that the wheel requires.
    """
    if wheel.is_pure:
        return not_applicable("symbols", "no machine code"), not_applicable("libraries", "no machine code")
    found, strange = claims(wheel)
    if strange or not found:
        why = "no manylinux or musllinux tag to hold it against"
        return failed("symbols", why), failed("libraries", why)
    binaries = list(elves)
    try:
        info = _analyze(wheel, binaries, found[0].libc, supplied)
    except _CANNOT as error:
        why = f"auditwheel cannot analyse it: {' '.join(str(error).split()) or type(error).__name__}"
        return failed("symbols", why), failed("libraries", why)
    return _symbols(found[0], info, binaries), _libraries(found[0], info, wheel, supplied)


def _analyze(wheel: WheelFile, elves: list[Elf], libc: str, supplied: Supplied | None) -> WheelAbIInfo:
    # auditwheel unpacks all of a wheel and looks at its ELF files alone: given only those, a wheel of ten
    # thousand headers and sources takes a fraction of the time.
    with TemporaryDirectory(prefix="armwheels-audit-") as folder:
        path = Path(folder) / wheel.path.name
        files = {one.member: one.image for one in elves if one.is_loadable}
        record = "".join(f"{_quoted(name)},,\n" for name in files)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in (files | {f"{wheel.dist_info}/RECORD": record.encode()}).items():
                archive.writestr(name, data)
        try:
            return analyze_wheel_abi(
                Libc.GLIBC if libc == "manylinux" else Libc.MUSL,
                Architecture.aarch64,
                path,
                frozenset(supplied.libraries if supplied else ()),
                disable_isa_ext_check=True,
                allow_graft=False,
                args_ldpaths="",  # the libraries of this machine say nothing about an Arm one
            )
        finally:
            get_wheel_elfdata.cache_clear()  # it remembers by path, and this one is gone


def _quoted(name: str) -> str:
    """A field of RECORD as CSV spells it."""
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
    promise = f"{proven} is the best they allow" if least else "no manylinux tag allows them"
    return failed(
        check, "\n".join([f"{lowest.tag} is claimed, but {promise}: {summary}", *where[:3]]), **data
    )


def _libraries(lowest: Claim, info: WheelAbIInfo, wheel: WheelFile, supplied: Supplied | None) -> Verdict:
    check = "libraries"
    granted = _granted(lowest, info)
    if granted is None:
        return failed(check, f"auditwheel has no policy for {lowest.tag}")
    foreign, forbidden = sorted(granted.libs), sorted(granted.blacklist)
    data = {"policy": granted.policy.name, "missing": foreign, "forbidden": forbidden}
    if foreign:
        return failed(
            check, f"neither in the wheel nor granted by {lowest.tag}: {', '.join(foreign)}", **data
        )
    if forbidden:
        return failed(check, f"symbols that {lowest.tag} forbids, of {', '.join(forbidden)}", **data)
    if supplied is None:
        return passed(check, f"all in the wheel or granted by {granted.policy.name}", **data)
    asked = Requirement(supplied.requirement)
    if not any(_same(asked, line) for line in wheel.requirements):
        others = ", ".join(wheel.requirements) or "nothing"
        why = f"{', '.join(supplied.libraries)} would come with {asked}, yet METADATA requires {others}"
        return failed(check, why, **data)
    return passed(
        check,
        f"all in the wheel, granted by {granted.policy.name} or with {asked}, which it requires",
        **data,
    )


def _same(asked: Requirement, line: str) -> bool:
    """Whether a ``Requires-Dist`` line asks for the very same, on every machine."""
    try:
        found = Requirement(line)
    except InvalidRequirement:
        return False
    names = {canonicalize_name(one.name) for one in (asked, found)}
    return len(names) == 1 and found.specifier == asked.specifier and found.marker is None


def _granted(lowest: Claim, info: WheelAbIInfo) -> ExternalReference | None:
    """The best policy that the claimed tag includes, with what the wheel needs beyond it."""
    fitting = [
        (version, reference)
        for reference in info.external_refs.values()
        if (version := _version(reference.policy.name)) and version <= lowest.version
    ]
    return max(fitting, key=lambda one: one[0])[1] if fitting else None


def _version(policy: str) -> tuple[int, int] | None:
    """The C library's version in a policy's name; ``None`` for the plain ``linux`` policy."""
    match = _TAG.match(policy)
    return (int(match[2]), int(match[3])) if match else None


def _key(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBERS.findall(text))


def _some(tags: set[str]) -> str:
    return ", ".join(sorted(tags)) or "nothing more"
