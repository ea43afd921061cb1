"""Who sees which wheel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from index_server.model import Record
from index_server.rules.views import backends, offers, view, visible
from index_server.targets import Lens, Target, Targets
from tests.helpers.records import any_record, make_record

TARGETS = Targets(
    [
        Target("generic", "", ("armv8-a",), ()),
        Target("neoverse-n1", "", ("graviton2",), ("generic",)),
        Target("neoverse-v1", "", (), ("neoverse-n1", "generic")),
    ]
)
lenses = st.builds(
    Lens, st.sampled_from(list(TARGETS.by_name.values())), st.sampled_from([None, "openblas", "acl"])
)


def look(text: str) -> Lens:
    lens = TARGETS.lens(text)
    assert lens is not None
    return lens


def seen(records: list[Record], text: str) -> list[str]:
    return [record.tuned.target if record.tuned else "*" for record in view(records, look(text))]


def test_own_wheel_then_the_list() -> None:
    wheels = [make_record(target=target) for target in ("generic", "neoverse-n1", "neoverse-v1")]
    assert seen(wheels, "neoverse-v1") == ["neoverse-v1"]
    assert seen(wheels[:2], "neoverse-v1") == ["neoverse-n1"]
    assert seen(wheels[:1], "neoverse-v1") == ["generic"]
    assert seen(wheels[1:], "generic") == []


def test_asked_backend_along_the_list_before_the_default_one() -> None:
    default = make_record(target="neoverse-v1", backend="openblas")
    other = make_record(target="generic", backend="acl", default_backend=False)
    assert view([default, other], look("neoverse-v1+acl")) == [other]
    assert view([default, other], look("neoverse-v1")) == [default]
    assert view([default, other], look("neoverse-v1+openblas")) == [default]


def test_untuned_arm_wheel_gives_way_and_others_stay() -> None:
    tuned = make_record()
    arm, intel = (make_record(target=None, platform=f"manylinux_2_28_{cpu}") for cpu in ("aarch64", "x86_64"))
    assert view([tuned, arm, intel], look("neoverse-v1")) == [tuned, intel]
    assert view([tuned, arm, intel], look("generic")) == [arm, intel]


def test_a_yanked_wheel_is_shown_beside_the_best_that_is_not_yanked() -> None:
    generic, n1, v1 = (make_record(target=target) for target in ("generic", "neoverse-n1", "neoverse-v1"))
    lens = look("neoverse-v1")
    assert view([generic, n1, v1], lens, {v1.filename}) == sorted([n1, v1], key=lambda each: each.filename)
    both = {n1.filename, v1.filename}
    assert view([generic, n1, v1], lens, both) == sorted([generic, v1], key=lambda each: each.filename)
    assert view([v1], lens, {v1.filename}) == [v1]


def test_a_yanked_wheel_hides_no_untuned_one() -> None:
    tuned, arm = make_record(), make_record(target=None, platform="manylinux_2_28_aarch64")
    shown = view([tuned, arm], look("neoverse-v1"), {tuned.filename})
    assert {record.filename for record in shown} == {tuned.filename, arm.filename}


@given(st.data(), st.lists(any_record(), max_size=12, unique_by=lambda record: record.filename), lenses)
def test_yanks_take_nothing_from_who_pins_and_nothing_from_who_does_not(
    data: st.DataObject, records: list[Record], lens: Lens
) -> None:
    yanked = data.draw(st.sets(st.sampled_from([each.filename for each in records]))) if records else set()
    shown = view(records, lens, yanked)
    assert {record.filename for record in view(records, lens)} <= {record.filename for record in shown}
    standing = [record for record in records if record.filename not in yanked]
    assert [record for record in shown if record.filename not in yanked] == view(standing, lens)


def test_a_lens_is_a_target_and_perhaps_a_backend() -> None:
    assert look("graviton2").slug == "neoverse-n1"
    assert look("graviton2+acl").slug == "neoverse-n1+acl"
    assert TARGETS.lens("generic+") is None
    assert TARGETS.lens("itanium") is None


@given(st.lists(any_record(), max_size=12), lenses)
def test_one_build_of_a_thing_and_only_what_runs(records: list[Record], lens: Lens) -> None:
    shown = view(records, lens)
    tuned = [record for record in shown if record.tuned]
    things = {(record.tuned and record.tuned.version, record.python_tag, record.abi_tag) for record in tuned}
    assert len(things) == len(tuned)
    for record in tuned:
        assert record.tuned
        assert record.tuned.target in lens.target.runs
        assert record.tuned.default_backend or record.tuned.backend == lens.backend


@given(st.data(), st.lists(any_record(), max_size=12, unique_by=lambda record: record.filename), lenses)
def test_the_order_of_records_does_not_matter(data: st.DataObject, records: list[Record], lens: Lens) -> None:
    assert view(data.draw(st.permutations(records)), lens) == view(records, lens)


@given(st.lists(any_record(), max_size=12), lenses)
def test_offers_tell_what_a_view_would_show(records: list[Record], lens: Lens) -> None:
    offered = offers(records)
    assert visible(offered, lens) == bool(view(records, lens))
    assert backends(offered) == {record.tuned.backend for record in records if record.tuned}


@given(st.lists(any_record(), max_size=12), st.sampled_from([None, "acl"]))
def test_a_better_cpu_never_sees_fewer_things(records: list[Record], backend: str | None) -> None:
    def things(name: str) -> set[tuple[str, str]]:
        lens = Lens(TARGETS.by_name[name], backend)
        return {
            (record.tuned.version if record.tuned else record.version, record.python_tag)
            for record in view(records, lens)
        }

    assert things("generic") <= things("neoverse-n1") <= things("neoverse-v1")
