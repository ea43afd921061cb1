"""What pages for people say about locks, updates and development versions."""

from __future__ import annotations

import re
from html import unescape

from index_server.pages.people import ChannelRow, landing_page, target_page
from index_server.targets import Lens, Target

V1 = Target("neoverse-v1", "AWS Graviton3", (), ("generic",))
BASE = "https://wheels.example"


def commands(page: bytes) -> list[str]:
    return [unescape(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page.decode())]


def of_target(place: str, snapshot: str | None = "20261127-1", listing: str = "") -> bytes:
    return target_page(BASE, place, Lens(V1), snapshot=snapshot, projects=["numpy"], listing=listing)


def test_a_channel_names_the_snapshot_to_lock_against() -> None:
    *_, lock, update = commands(of_target("nightly"))
    assert f"--default-index {BASE}/snapshots/20261127-1/neoverse-v1/simple/" in lock
    assert "--generate-hashes" in lock
    assert update == (
        f"pip install --index-url {BASE}/nightly/neoverse-v1/simple/ numpy --upgrade --force-reinstall --no-deps"
    )


def test_the_front_page_does_too() -> None:
    rows = [ChannelRow("nightly", "newest", "20261127-1", "2026-11-27T03:00:00Z", 3)]
    *_, lock, _ = commands(landing_page(BASE, rows, [V1]))
    assert f"{BASE}/snapshots/20261127-1/neoverse-v1/simple/" in lock


def test_a_snapshot_and_an_empty_channel_have_no_such_advice() -> None:
    assert len(commands(of_target("snapshots/20261127-1"))) == 2
    assert len(commands(of_target("nightly", snapshot=None))) == 2


def test_a_rule_for_development_versions_is_announced() -> None:
    assert (
        "lists the newest 30. Older ones stay in their snapshots."
        in of_target("nightly", listing="This channel lists the newest 30.").decode()
    )
