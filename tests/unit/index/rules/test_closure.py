"""The closure of requirements: what installers would choose from the same files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from index_server.model import Record
from index_server.rules.closure import Choice, Unresolvable, choices, closure
from tests.helpers.records import make_record

PYTHON = (3, 13)
World = Mapping[str, Mapping[str, Sequence[str]]]  # project -> version -> Requires-Dist


def record_of(filename: str) -> Record:
    project, version, python, abi, platform = filename.removesuffix(".whl").split("-")
    record = make_record(project=project, version=version, target=None, python=python, platform=platform)
    return record.model_copy(update={"filename": filename, "abi_tag": abi})


def resolved(world: World, *wanted: str, yanked: Sequence[str] = ()) -> dict[str, str]:
    def offers(name: NormalizedName) -> list[Choice]:
        records = [record_of(f"{name}-{version}-py3-none-any.whl") for version in world.get(name, {})]
        return choices(name, records, dict.fromkeys(yanked, "bad"), PYTHON)

    def requires(record: Record) -> list[Requirement]:
        return [Requirement(line) for line in world[record.project][record.version]]

    found = closure([Requirement(one) for one in wanted], offers, requires, PYTHON)
    return {one.project: str(one.version) for one in found}


def test_the_newest_version_and_what_it_requires() -> None:
    world = {"a": {"1.0": [], "2.0": ["b>=1"]}, "b": {"1.0": [], "0.5": []}}
    assert resolved(world, "a") == {"a": "2.0", "b": "1.0"}


def test_an_older_version_where_the_newest_contradicts() -> None:
    world = {"a": {"1.0": ["c==1.0"], "2.0": ["c==2.0"]}, "b": {"1.0": ["c<2"]}, "c": {"1.0": [], "2.0": []}}
    assert resolved(world, "a", "b") == {"a": "1.0", "b": "1.0", "c": "1.0"}


def test_what_an_abandoned_choice_required_is_no_part_of_the_answer() -> None:
    """The newest c requires an a that requires itself, and contradicts itself."""
    world = {"a": {"2.0": [], "3.0": ["a>=3.0"]}, "c": {"1.0": [], "3.0": ["a>=2.0", "c<2.0"]}}
    assert resolved(world, "c") == {"c": "1.0"}


def test_markers_are_those_of_linux_on_arm() -> None:
    world = {
        "a": {
            "1.0": [
                'b; platform_machine == "aarch64"',
                'c; sys_platform == "win32"',
                'd; python_version < "3.13"',
                'e; extra == "more"',
            ]
        },
        **{name: {"1.0": []} for name in "bcde"},
    }
    assert resolved(world, "a") == {"a": "1.0", "b": "1.0"}
    assert resolved(world, "a[more]") == {"a": "1.0", "b": "1.0", "e": "1.0"}


def test_an_extra_and_the_project_itself_have_one_version() -> None:
    world = {"a": {"1.0": ['b; extra == "more"'], "2.0": []}, "b": {"1.0": []}, "c": {"1.0": ["a<2"]}}
    assert resolved(world, "a[more]", "c") == {"a": "1.0", "b": "1.0", "c": "1.0"}


def test_pre_releases_and_yanked_files_only_where_they_are_named() -> None:
    world = {"a": {"1.0": [], "2.0rc1": [], "1.5": []}}
    assert resolved(world, "a") == {"a": "1.5"}
    assert resolved(world, "a>=2.0rc1") == {"a": "2.0rc1"}
    yanked = ["a-1.5-py3-none-any.whl"]
    assert resolved(world, "a", yanked=yanked) == {"a": "1.0"}
    assert resolved(world, "a==1.5", yanked=yanked) == {"a": "1.5"}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("zzz", "you ask for zzz: no file of it is here for this Python"),
        ("a>=3", "you ask for a>=3: there is 1.0"),
        ("b", "b 1.0 requires c: no file of it is here for this Python"),
    ],
)
def test_what_is_missing_is_named_with_who_requires_it(wanted: str, reason: str) -> None:
    world = {"a": {"1.0": []}, "b": {"1.0": ["c"]}}
    with pytest.raises(Unresolvable) as error:
        resolved(world, wanted)
    assert reason in error.value.reasons


@pytest.mark.parametrize(
    ("filename", "taken"),
    [
        ("a-1.0-cp313-cp313-manylinux_2_28_aarch64.whl", True),
        ("a-1.0-cp39-abi3-manylinux_2_28_aarch64.whl", True),
        ("a-1.0-py2.py3-none-any.whl", True),
        ("a-1.0-cp312-cp312-manylinux_2_28_aarch64.whl", False),
        ("a-1.0-cp313-cp313t-manylinux_2_28_aarch64.whl", False),
        ("a-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", False),
        ("a-1.0-cp313-cp313-musllinux_1_2_aarch64.whl", False),
    ],
)
def test_files_that_the_python_takes(filename: str, taken: bool) -> None:
    assert bool(choices("a", [record_of(filename)], {}, PYTHON)) is taken


def test_a_project_for_another_python_is_left_out() -> None:
    old = record_of("a-1.0-py3-none-any.whl").model_copy(update={"requires_python": "<3.13"})
    assert choices("a", [old], {}, PYTHON) == []


NAMES = st.sampled_from("abcd")
VERSIONS = st.sampled_from(["1.0", "2.0", "3.0"])
OPERATORS = st.sampled_from(["==", "<", ">="])
LINES = st.tuples(NAMES, OPERATORS, VERSIONS).map("".join)
RELEASES = st.dictionaries(VERSIONS, st.lists(LINES, max_size=2), min_size=1)
WORLDS = st.dictionaries(NAMES, RELEASES, min_size=1)


@given(world=WORLDS, wanted=st.lists(NAMES, min_size=1, max_size=3))
def test_every_requirement_of_an_answer_is_met(world: World, wanted: list[str]) -> None:
    try:
        found = resolved(world, *wanted)
    except Unresolvable:
        return
    assert set(map(canonicalize_name, wanted)) <= found.keys()
    for project, version in found.items():
        for line in world[project][version]:
            requirement = Requirement(line)
            assert Version(found[requirement.name]) in requirement.specifier
    reached, waiting = set[str](), list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [Requirement(line).name for line in world[name][found[name]]]
    assert found.keys() == reached
