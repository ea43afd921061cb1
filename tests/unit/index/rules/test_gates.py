"""What gates object, as pure rules: each reason stands alone, and they come together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index_server.errors import ConfigError
from index_server.model import Record
from index_server.policy import load_policy
from index_server.rules.gates import Candidate, Cell, Gates, passed, reasons
from index_server.settings import ROOT
from tests.helpers.records import any_record, make_record

V1, N1 = make_record(target="neoverse-v1"), make_record(target="neoverse-n1")
PURE = make_record(target=None, platform="any")
GATES = Gates(
    sources=("nightly",),
    required=(Cell("demo", "1.0", "cp311", "neoverse-v1", "none"),),
    evidence=("audit", "emulation"),
    approvals=1,
)
GOOD = {"audit": True, "emulation": True}


def candidate(*records: Record, **changed: object) -> Candidate:
    facts = {
        "records": records,
        "shown_in": frozenset({"nightly"}),
        "returning": False,
        "quarantined": {},
        "evidence": {record.sha256: GOOD for record in records if record.tuned},
        "approvers": frozenset({"bob"}),
    }
    return Candidate(**{**facts, **changed})


def test_a_snapshot_with_everything_passes() -> None:
    assert reasons(GATES, candidate(V1, N1, PURE)) == ()


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (candidate(V1, shown_in=frozenset()), "it was never shown by nightly"),
        (candidate(N1), "demo-1.0-cp311-neoverse-v1-none is required and not there"),
        (candidate(V1, evidence={}), f"{V1.filename} has no audit evidence"),
        (
            candidate(V1, evidence={V1.sha256: {"audit": False, "emulation": True}}),
            f"{V1.filename}: its audit evidence does not say that it passed",
        ),
        (
            candidate(V1, PURE, quarantined={PURE.filename: "bad"}),
            f"{PURE.filename} is under quarantine: bad",
        ),
        (
            candidate(V1, approvers=frozenset()),
            "it needs the approval of another person than the one who moves the channel",
        ),
    ],
)
def test_each_gate_has_its_reason(shown: Candidate, reason: str) -> None:
    assert reason in reasons(GATES, shown)


def test_all_reasons_come_together() -> None:
    shut = candidate(
        N1, PURE, shown_in=frozenset(), evidence={}, approvers=frozenset(), quarantined={PURE.filename: "bad"}
    )
    assert len(reasons(GATES, shut)) == 6


def test_on_the_way_back_only_news_count() -> None:
    back = candidate(N1, PURE, returning=True, shown_in=frozenset({"stable"}), approvers=frozenset())
    assert reasons(GATES, back) == ()
    worse = candidate(N1, returning=True, evidence={N1.sha256: {"audit": True, "emulation": False}})
    assert len(reasons(GATES, worse)) == 1
    assert len(reasons(GATES, candidate(N1, returning=True, quarantined={N1.filename: "bad"}))) == 1


worlds = st.builds(
    Candidate,
    records=st.lists(any_record(), max_size=6, unique_by=lambda record: record.filename),
    shown_in=st.frozensets(st.sampled_from(["nightly", "stable", "other"])),
    returning=st.booleans(),
    quarantined=st.just({}),
    evidence=st.just({}),
    approvers=st.frozensets(st.sampled_from(["bob", "eve"])),
)
some_gates = st.builds(
    Gates,
    sources=st.lists(st.sampled_from(["nightly", "other"]), unique=True).map(tuple),
    required=st.lists(
        st.builds(
            Cell,
            st.just("demo"),
            st.sampled_from(["1.0", "2.0"]),
            st.just("cp311"),
            st.sampled_from(["generic", "neoverse-v1"]),
            st.sampled_from(["openblas", "acl"]),
        ),
        max_size=3,
    ).map(tuple),
    evidence=st.sampled_from([(), ("audit",), ("audit", "emulation")]),
    approvals=st.integers(0, 3),
)


@given(some_gates, worlds)
def test_no_gates_no_reasons_and_more_gates_no_fewer(gates: Gates, world: Candidate) -> None:
    assert reasons(Gates(), world) == ()
    alone = [
        reasons(Gates(sources=gates.sources), world),
        reasons(Gates(required=gates.required), world),
        reasons(Gates(evidence=gates.evidence), world),
        reasons(Gates(approvals=gates.approvals), world),
    ]
    assert sorted(reasons(gates, world)) == sorted(reason for part in alone for reason in part)


@given(some_gates, worlds, st.data())
def test_any_file_under_quarantine_shuts_every_gate(
    gates: Gates, world: Candidate, data: st.DataObject
) -> None:
    if not world.records:
        return
    name = data.draw(st.sampled_from([record.filename for record in world.records]))
    bad = Candidate(**{**vars(world), "quarantined": {name: "bad"}})
    assert set(reasons(gates, bad)) - set(reasons(gates, world)) == {f"{name} is under quarantine: bad"}


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ({"passed": True}, True),
        ({"passed": True, "sha256": "a"}, True),
        ({"passed": True, "sha256": "b"}, False),
        ({"passed": "yes"}, False),
        ({"passed": 1}, False),
        ({"passed": False}, False),
        ({}, False),
        (["passed"], False),
        (None, False),
    ],
)
def test_what_counts_as_passed(body: object, good: bool) -> None:
    assert passed(body, "a") is good


def test_this_projects_stable_channel_is_gated() -> None:
    policy = load_policy()
    assert set(policy.gates) == {"stable"}
    cells = {str(cell) for cell in policy.gates["stable"].required}
    assert "numpy-2.4.6-cp313-neoverse-v1-openblas" in cells
    assert not policy.reads_need_token


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ARMWHEELS_READS", "closed"), ("ARMWHEELS_UPLOADS_PER_SECOND", "many"),
     ("ARMWHEELS_UPLOADS_PER_SECOND", "0"), ("ARMWHEELS_UPLOADS_PER_SECOND", "nan")],
)  # fmt: skip
def test_a_variable_with_a_wrong_value_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(ROOT / "configs"))
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable):
        load_policy()
