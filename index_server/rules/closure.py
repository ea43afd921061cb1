"""Chooses one version of each project that a set of requirements needs, from what one view shows. Pure.

It resolves as installers do: the newest version that fits, without pre-releases unless a requirement names them,
and without yanked files unless a requirement pins them (:pep:`440`, :pep:`592`). Markers are judged for CPython on
Linux for 64-bit Arm (:pep:`508`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version
from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, ResolutionTooDeep
from resolvelib.resolvers import Resolution
from resolvelib.structs import Matches, RequirementInformation

from index_server.model import Record

MOST_ROUNDS = 2000
"""Steps after which a search is given up."""

_TOLD = 5  # versions of a project in a reason
Requires = Callable[[Record], Sequence[Requirement]]


@dataclass(frozen=True)
class Choice:
    """A version of a project, and its files that the Python takes, by file name."""

    project: NormalizedName
    version: Version
    records: tuple[Record, ...]
    yanked: bool


class Unresolvable(Exception):  # noqa: N818 - the answer to a question, not a fault
    """Nothing that the view shows meets the requirements; ``reasons`` say why."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class _Wanted(NamedTuple):
    """A requirement, and the project that has it; None for those of the caller."""

    requirement: Requirement
    by: str | None


class _Candidate(NamedTuple):
    """A choice, with the extras that are asked for."""

    choice: Choice
    extras: frozenset[str]


_Name = tuple[NormalizedName, frozenset[str]]
_Information = RequirementInformation[_Wanted, _Candidate]


def environment_of(python: tuple[int, int]) -> dict[str, str]:
    """The variables of markers (:pep:`508`) for a CPython on Linux for 64-bit Arm, in its newest release."""
    version = ".".join(map(str, python))
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{version}.99",
        "os_name": "posix",
        "platform_machine": "aarch64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{version}.99",
        "python_version": version,
        "sys_platform": "linux",
    }


def choices(
    project: str, records: Iterable[Record], yanked: Mapping[str, str], python: tuple[int, int]
) -> list[Choice]:
    """Group the files of a project that a CPython on Linux for 64-bit Arm takes, the newest version first."""
    accepted = _accepted(python)
    newest = f"{python[0]}.{python[1]}.99"
    by_version: dict[Version, list[Record]] = {}
    for record in records:
        if _taken(record, accepted) and SpecifierSet(record.requires_python or "").contains(newest):
            by_version.setdefault(Version(record.version), []).append(record)
    found = []
    for version, files in by_version.items():
        standing = [record for record in files if record.filename not in yanked]
        kept = tuple(sorted(standing or files, key=lambda record: record.filename))
        found.append(Choice(canonicalize_name(project), version, kept, yanked=not standing))
    return sorted(found, key=lambda one: one.version, reverse=True)


def closure(
    wanted: Sequence[Requirement],
    offers: Callable[[NormalizedName], Sequence[Choice]],
    requires: Requires,
    python: tuple[int, int],
) -> list[Choice]:
    """Return one choice of each project that ``wanted`` needs, by name.

    ``offers`` returns the choices of a project, and ``requires`` the ``Requires-Dist`` of a file.

    Raises:
        Unresolvable: no set of choices meets all requirements, or the search takes too many steps.
    """
    provider = _Provider(offers, requires, environment_of(python))
    asked = [_Wanted(one, None) for one in wanted]
    resolution: Resolution[_Wanted, _Candidate, _Name] = Resolution(provider, BaseReporter())
    try:
        found = resolution.resolve(asked, max_rounds=MOST_ROUNDS).mapping
    except ResolutionImpossible as error:
        raise Unresolvable(*_reasons(error.causes, offers)) from None
    except ResolutionTooDeep:
        raise Unresolvable(
            "the requirements contradict each other in too many ways; pin some versions"
        ) from None
    chosen: dict[NormalizedName, Choice] = {}
    waiting, seen = [provider.identify(one) for one in asked], set[_Name]()
    # The search leaves behind what abandoned choices required. (resolvelib's own Resolver looks for a way from the
    # root to each of them, and does not end where two of them require each other.)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            chosen[name[0]] = found[name].choice
            waiting += map(provider.identify, provider.get_dependencies(found[name]))
    return [chosen[name] for name in sorted(chosen)]


class _Provider(AbstractProvider[_Wanted, _Candidate, _Name]):
    def __init__(
        self,
        offers: Callable[[NormalizedName], Sequence[Choice]],
        requires: Requires,
        environment: Mapping[str, str],
    ) -> None:
        self._offers, self._requires, self._environment = offers, requires, environment

    def identify(self, requirement_or_candidate: _Wanted | _Candidate) -> _Name:
        if isinstance(requirement_or_candidate, _Candidate):
            return requirement_or_candidate.choice.project, requirement_or_candidate.extras
        requirement = requirement_or_candidate.requirement
        return canonicalize_name(requirement.name), frozenset(map(canonicalize_name, requirement.extras))

    def get_preference(
        self,
        identifier: _Name,
        resolutions: Mapping[_Name, _Candidate],  # noqa: ARG002 - the interface of resolvelib
        candidates: Mapping[_Name, Iterator[_Candidate]],  # noqa: ARG002
        information: Mapping[_Name, Iterator[_Information]],
        backtrack_causes: Sequence[_Information],
    ) -> tuple[bool, bool, str]:
        """Causes of a conflict first, then pinned projects, so that a search fails early."""
        conflicting = any(self.identify(cause.requirement) == identifier for cause in backtrack_causes)
        pinned = any(
            specifier.operator in {"==", "==="}
            for one in information[identifier]
            for specifier in one.requirement.requirement.specifier
        )
        return not conflicting, not pinned, identifier[0]

    def find_matches(
        self,
        identifier: _Name,
        requirements: Mapping[_Name, Iterator[_Wanted]],
        incompatibilities: Mapping[_Name, Iterator[_Candidate]],
    ) -> Matches[_Candidate]:
        name, extras = identifier
        specifier = SpecifierSet()
        for one in requirements[identifier]:
            specifier &= one.requirement.specifier
        barred = {candidate.choice.version for candidate in incompatibilities[identifier]}
        pinned = any(each.operator in {"==", "==="} for each in specifier)
        offered = [one for one in self._offers(name) if pinned or not one.yanked]
        fitting = set(specifier.filter(one.version for one in offered))
        return [
            _Candidate(one, extras) for one in offered if one.version in fitting and one.version not in barred
        ]

    def is_satisfied_by(self, requirement: _Wanted, candidate: _Candidate) -> bool:
        return requirement.requirement.specifier.contains(candidate.choice.version, prereleases=True)

    def get_dependencies(self, candidate: _Candidate) -> list[_Wanted]:
        choice, extras = candidate
        by = f"{choice.project} {choice.version}"
        own = [_Wanted(Requirement(f"{choice.project}=={choice.version}"), by)] if extras else []
        asked = sorted(extras) or [""]
        return own + [
            _Wanted(requirement, by)
            for requirement in self._requires(choice.records[0])
            if requirement.marker is None
            or any(requirement.marker.evaluate({**self._environment, "extra": extra}) for extra in asked)
        ]


def _reasons(
    causes: Iterable[_Information], offers: Callable[[NormalizedName], Sequence[Choice]]
) -> Iterator[str]:
    for cause in causes:
        requirement, by = cause.requirement
        name = canonicalize_name(requirement.name)
        versions = ", ".join(f"{one.version}{' (yanked)' * one.yanked}" for one in offers(name)[:_TOLD])
        there = f"there is {versions}" if versions else "no file of it is here for this Python"
        yield f"{by or 'you'} {'requires' if by else 'ask for'} {requirement}: {there}"


def _accepted(python: tuple[int, int]) -> frozenset[tuple[str, str]]:
    """The pairs of Python and ABI tags that a CPython takes (:pep:`425`)."""
    interpreter = f"cp{python[0]}{python[1]}"
    tags = [*cpython_tags(python, platforms=["any"]), *compatible_tags(python, interpreter, ["any"])]
    return frozenset((tag.interpreter, tag.abi) for tag in tags)


def _taken(record: Record, accepted: frozenset[tuple[str, str]]) -> bool:
    pairs = ((one, abi) for one in record.python_tag.split(".") for abi in record.abi_tag.split("."))
    platforms = record.platform_tag.split(".")
    fits = any(
        one == "any" or (one.startswith(("manylinux", "linux")) and one.endswith("_aarch64"))
        for one in platforms
    )
    return fits and any(pair in accepted for pair in pairs)
