"""A wheel that is slower than the ones people have is built, measured, and kept out of every channel."""

from __future__ import annotations

import pytest

from tests.helpers.places import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TINY = ("armwheels", "nightly", "--matrix", "tiny")


def test_a_slower_wheel_is_refused_with_the_reason_and_the_older_one_stays(place: Place) -> None:
    first = place.run(*TINY)
    assert first.returncode == 0, first.stdout + first.stderr
    before, heads, published = place.snapshots(), place.journal(), place.wheels()
    recipe = place.configs / "recipes/msgpack.toml"
    text = recipe.read_text().replace('cflags = ["-O3"]', 'cflags = ["-O1", "-fno-inline"]')
    recipe.write_text(text.replace('neoverse-v1 = ["sve"]', ""))

    done = place.run(*TINY)

    assert done.returncode == 11
    assert "missing msgpack-1.2.4-cp311-neoverse-v1" in done.stdout
    for other in ("PyPI", "the published one"):
        assert f"times the instructions of {other}" in done.stdout
    assert place.snapshots() == before
    assert place.journal() == heads
    [slow] = set(place.wheels()) - set(published)
    # Nor does a command that is given the file publish it.
    by_hand = place.run("armwheels", "publish", str(slow))
    assert by_hand.returncode == 10
    assert "packb-records takes" in by_hand.stderr
    assert "times the instructions of the published one" in by_hand.stderr
    assert place.journal() == heads
