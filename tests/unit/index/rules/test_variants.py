"""Which variants a page shows, and what describes them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index_server.catalog.catalog import cell
from index_server.model import Record
from index_server.names import parse_name, split_label
from index_server.rules.variants import LABELS, document, json_name, of_json, with_variants
from index_server.rules.views import offers, view
from index_server.targets import Lens, Target, Targets
from tests.helpers.records import any_record, make_record

TARGETS = Targets(
    [
        Target("generic", "", (), ()),
        Target("neoverse-n1", "", (), ("generic",)),
        Target("neoverse-v1", "", (), ("neoverse-n1", "generic")),
    ]
)
LENS = Lens(TARGETS.by_name["generic"], variants=True)
V82, V84 = "armv8.2a", "armv8.4a"
OLD, NEW = "2026-11-22T00:00:00.000000Z", "2026-11-23T00:00:00.000000Z"


def any_variant() -> st.SearchStrategy[Record]:
    return st.builds(
        make_record,
        version=st.sampled_from(["1.0", "2.0"]),
        python=st.sampled_from(["cp311", "cp312"]),
        target=st.sampled_from(["neoverse-n1", "neoverse-v1"]),
        digest=st.sampled_from([letter * 64 for letter in "abc"]),
        at=st.sampled_from([OLD, NEW]),
        label=st.sampled_from(sorted(LABELS)),
    )


def distinct(records: Sequence[Record]) -> list[Record]:
    return list({record.filename: record for record in records}.values())


worlds = st.lists(st.one_of(any_record(), any_variant()), max_size=12).map(distinct)


@given(worlds, st.data())
def test_the_plain_wheels_are_those_of_the_view_and_each_variant_stands_beside_one(
    records: list[Record], data: st.DataObject
) -> None:
    yanked = data.draw(st.sets(st.sampled_from([r.filename for r in records] or [""])))
    shown = with_variants(records, LENS, TARGETS, yanked)
    plain = [record for record in shown if not record.label]
    assert plain == view(records, LENS, yanked)
    beside = {(r.project, r.version, r.python_tag, r.abi_tag) for r in plain}
    standing = [r for r in shown if r.label and r.filename not in yanked]
    places = [(r.project, r.version, r.python_tag, r.abi_tag, r.label) for r in standing]
    assert {place[:-1] for place in places} <= beside
    assert len(places) == len(set(places)), (
        "two variants of one label, between which an installer would choose"
    )
    assert shown == sorted(shown, key=lambda record: record.filename)


@given(worlds)
def test_variants_change_neither_views_nor_offers(records: list[Record]) -> None:
    without = [record for record in records if not record.label]
    assert offers(records) == offers(without)
    for target in TARGETS.by_name.values():
        assert view(records, Lens(target)) == view(without, Lens(target))


@given(worlds)
def test_the_json_of_a_version_has_every_label_that_the_page_shows(records: list[Record]) -> None:
    for record in with_variants(records, LENS, TARGETS):
        if record.label:
            described = of_json(json_name(record), records)
            assert record in described
            assert {r.version for r in described} == {record.version}
            assert record.label in json.loads(document(r.label for r in described))["variants"]


@given(st.lists(st.sampled_from(sorted(LABELS))), st.randoms())
def test_the_same_labels_give_the_same_bytes(labels: list[str], chance: st.random.Random) -> None:
    other = [*labels, *labels]
    chance.shuffle(other)
    assert document(labels) == document(other)


def test_of_one_label_the_higher_target_is_shown_and_of_equals_the_newer() -> None:
    plain = make_record(target="generic")
    n1 = make_record(target="neoverse-n1", label=V82, digest="b" * 64, at=NEW)
    v1 = make_record(target="neoverse-v1", label=V82, digest="a" * 64, at=OLD)
    newer = make_record(target="neoverse-v1", label=V82, digest="c" * 64, at=NEW)
    assert with_variants([plain, n1, v1], LENS, TARGETS) == [plain, v1]
    assert with_variants([plain, n1, v1, newer], LENS, TARGETS) == [plain, newer]
    assert with_variants([plain, n1, v1], LENS, TARGETS, {v1.filename}) == [plain, v1, n1]
    assert with_variants([n1, v1], LENS, TARGETS) == [], (
        "an installer that knows no variants would find nothing"
    )


def test_the_document_of_a_label() -> None:
    assert json.loads(document([V84])) == {
        "$schema": "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json",
        "default-priorities": {"namespace": ["aarch64"]},
        "providers": {"aarch64": {"requires": ["aarch64-variant-provider"]}},
        "variants": {V84: {"aarch64": {"version": ["8.4a"]}}},
    }
    with pytest.raises(KeyError):
        document(["armv9a"])


def test_a_variant_is_a_cell_of_its_own() -> None:
    tuned, variant, other = (
        make_record(target="neoverse-n1", label=label, digest="a" * 64) for label in ("", V82, V84)
    )
    assert len({cell(tuned), cell(variant), cell(other)}) == 3
    assert cell(variant) == cell(make_record(target="neoverse-n1", label=V82, digest="b" * 64))


@pytest.mark.parametrize(
    ("filename", "label", "build"),
    [
        ("demo-1.0-cp311-cp311-manylinux_2_28_aarch64.whl", "", ""),
        ("demo-1.0-1_3fa9c2d1-cp311-cp311-manylinux_2_28_aarch64.whl", "", "1_3fa9c2d1"),
        ("demo-1.0-cp311-cp311-manylinux_2_28_aarch64-armv8.2a.whl", V82, ""),
        ("demo-1.0+generic-1_3fa9c2d1-cp311-cp311-linux_aarch64-armv8.2a.whl", V82, "1_3fa9c2d1"),
        ("demo-1.0-py3-none-any-null.whl", "null", ""),
    ],
)
def test_the_label_of_a_file_name(filename: str, label: str, build: str) -> None:
    name = parse_name(filename)
    assert (name.label, name.build_tag) == (label, build)
    assert split_label(filename)[1] == label
    assert not name.platform_tag.endswith("a.whl")
    assert name.tags == parse_name(split_label(filename)[0]).tags


@pytest.mark.parametrize("label", ["ARMV8", "a+b", "", "12345678901234567", "armv8-2a"])
def test_what_is_no_label(label: str) -> None:
    with pytest.raises(ValueError, match=r"PEP 825|wheel"):
        parse_name(f"demo-1.0-1_3fa9c2d1-cp311-cp311-manylinux_2_28_aarch64-{label}.whl")


@given(st.one_of(any_record(), any_variant()))
def test_a_record_knows_the_label_of_its_name(record: Record) -> None:
    assert record.label == parse_name(record.filename).label
