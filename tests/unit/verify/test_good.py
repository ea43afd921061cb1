"""Files that hold: online and offline, from each kind of lock file."""

from __future__ import annotations

from tests.helpers.signed import judged
from tests.unit.verify.conftest import Place


def test_a_signed_wheel_holds(place: Place) -> None:
    [judgement] = judged(place.index, place.root, place.state(), place.wheel)
    assert judgement.reasons == []
    assert [each.kind for each in judgement.statements] == ["audit", "emulation", "provenance"]
