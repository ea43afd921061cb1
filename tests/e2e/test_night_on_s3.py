"""A real night over a real S3 server that dies in the middle of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from scripts.seaweed import BUCKET, Seaweed
from tests.helpers.places import Place

pytestmark = pytest.mark.slow
PREFIX = "night"
DEATHS = 3  # while the night publishes, after one while it compiles


@pytest.fixture
def seaweed(tmp_path: Path) -> Iterator[Seaweed]:
    running = Seaweed(tmp_path / "seaweed")
    running.start()
    yield running
    running.kill()


def objects(seaweed: Seaweed) -> dict[str, str]:
    """What is stored for good, by key, with the ETag of its bytes."""
    pages = seaweed.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/")
    found = {each["Key"]: each["ETag"] for page in pages for each in page.get("Contents", ())}
    return {
        key: etag for key, etag in found.items() if key.split("/")[1] not in ("probe", "channels", "intents")
    }


def die_and_rise(seaweed: Seaweed) -> None:
    seaweed.kill()
    seaweed.start()


def test_the_store_is_killed_during_a_night(seaweed: Seaweed, place: Place) -> None:
    """Killed -9 while it compiles and again and again while it publishes: nothing is lost, the night goes on."""
    night = replace(place, store=seaweed.environment(PREFIX))
    process = night.start("armwheels", "nightly", "--matrix", "small")
    lines: list[str] = []

    def listen(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        lines.extend(process.stdout)

    listener = Thread(target=listen, args=(process,))
    listener.start()
    acknowledged: dict[str, str] = {}
    deaths = 0
    try:
        deadline = time.monotonic() + 600
        while not any(": compile" in line for line in lines):
            assert process.poll() is None, lines
            assert time.monotonic() < deadline
            time.sleep(0.1)
        acknowledged |= objects(seaweed)
        die_and_rise(seaweed)
        while process.poll() is None and deaths < DEATHS:
            assert time.monotonic() < deadline
            now = objects(seaweed)
            if now.keys() - acknowledged.keys():
                acknowledged |= now
                die_and_rise(seaweed)
                deaths += 1
            time.sleep(0.02)
        process.wait(300)
    finally:
        process.kill()
        process.wait()
        listener.join(10)
    text = "".join(lines)
    assert process.returncode == 0, text
    assert deaths == DEATHS
    assert text.count("built            msgpack-1.2.4-cp313-") == 3
    assert "nightly moved to" in text
    after = objects(seaweed)
    assert {key: after.get(key) for key in acknowledged} == acknowledged
    assert len([key for key in after if "/journal/nightly/" in key]) == 1
    assert len([key for key in after if "/snapshots/" in key]) == 1
    check = night.run("armwheels-index", "check", "--deep")
    assert check.returncode == 0, check.stdout + check.stderr
    assert "1 snapshots with 3 files" in check.stdout
    again = night.run("armwheels", "nightly", "--matrix", "small")
    assert (again.returncode, "nothing new: no snapshot was made" in again.stdout) == (0, True), again.stdout
