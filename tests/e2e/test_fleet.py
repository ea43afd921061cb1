"""A fleet on one machine: workers, engine, index and store, which die during a night."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

import psutil
import pytest

from builder.fleet.engine import LocalEngine
from builder.toolbox.toolbox import Toolbox
from scripts.seaweed import Seaweed
from tests.helpers.ccache import counted
from tests.helpers.places import Place, make_place
from tests.helpers.units import PROJECT, TARGETS, write_recipe

pytestmark = pytest.mark.slow
LEASE = "8"
WAIT = 400.0  # seconds; the machine may be compiling, too


class Listened:
    """A command that runs, and what it has printed so far."""

    def __init__(self, place: Place, *command: str) -> None:
        self.process = place.start(*command)
        self.lines: list[str] = []
        self._listener = Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def until(self, sign: str) -> None:
        """Wait until it has printed this."""
        wait_until(lambda: sign in self.text or self.process.poll() is not None, self)
        assert sign in self.text, self.text

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join(20)


def wait_until(holds: Callable[[], bool], *shown: Listened) -> None:
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline, "\n".join(one.text for one in shown)
        time.sleep(0.1)


@contextmanager
def listened(place: Place, *command: str) -> Iterator[Listened]:
    running = Listened(place, *command)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngine]:
    running = LocalEngine(tmp_path / "engine/cluster.db")
    running.start()
    yield running
    running.stop()


def compilers(place: Place) -> list[psutil.Process]:
    """The processes that compile in this state folder."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.environ().get("ARMWHEELS_WORK", "").startswith(str(place.home)):
                found.append(process)
        except psutil.Error:
            continue
    return found


def units_of(place: Place) -> int:
    """How many units the builds that run in this state folder have compiled so far."""
    logs = [path.read_text() for path in place.home.glob("work/*/ccache-stats.log")]
    return sum(len(re.findall("(?m)^cache_miss$", text)) for text in logs)


def test_worker_and_engine_die_in_a_night_on_s3(
    engine: LocalEngine, toolbox: Toolbox, tmp_path: Path
) -> None:
    """Two workers share six builds. One is killed as it compiles, then the engine: each wheel is published once.

    The workers share a compile cache through the index, whose store is an S3 server: what the killed worker had
    compiled, the other one does not compile again.
    """
    recipes = write_recipe(tmp_path / "recipes")
    seaweed = Seaweed(tmp_path / "seaweed")
    with ExitStack() as stack:
        stack.callback(seaweed.kill)
        seaweed.start()
        store = {**seaweed.environment("fleet"), "ARMWHEELS_RECIPES": str(recipes)}
        host = replace(make_place(tmp_path / "index", toolbox), store=store)
        made = host.run(
            *("armwheels-index", "token", "--name", "fleet"),
            *(part for scope in ("upload:*", "evidence", "move:*", "cache") for part in ("--scope", scope)),
        )
        ready = host.home / "ready"
        stack.enter_context(
            listened(host, "armwheels-index", "serve", "--port", "0", "--ready-file", str(ready))
        )
        wait_until(ready.is_file)
        fleet = {
            "ARMWHEELS_RECIPES": str(recipes),
            "ARMWHEELS_INDEX": ready.read_text().strip(),
            "ARMWHEELS_TOKEN": made.stdout.strip().splitlines()[-1],
            "ARMWHEELS_SHARED_CACHE": "on",
            "ARMWHEELS_TEMPORAL": engine.address,
            "ARMWHEELS_LEASE": LEASE,
        }
        places = [replace(make_place(tmp_path / name, toolbox), store=fleet) for name in ("one", "two")]
        first, second = (stack.enter_context(listened(place, "armwheels", "worker")) for place in places)
        for worker in (first, second):
            worker.until("worker ")
        night = stack.enter_context(listened(places[0], "armwheels", "nightly", "--matrix", "six"))

        wait_until(lambda: units_of(places[0]) >= 4, first, second, night)
        first.process.send_signal(signal.SIGKILL)
        wait_until(lambda: not compilers(places[0]), first)
        killed_at = units_of(places[0])
        assert killed_at < 8 * len(TARGETS)

        second.until(": upload")
        before = engine.pid
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: engine.pid != before, second)

        wait_until(lambda: night.process.poll() is not None, second, night)
        assert night.process.returncode == 0, night.text + second.text
        assert "6 of 6 wheels of matrix six" in night.text
        assert all(f"built            {PROJECT}-1.0-cp311-{target}" in night.text for target in TARGETS)

        check = host.run("armwheels-index", "check", "--deep")
        assert check.returncode == 0, check.stdout + check.stderr
        assert "1 snapshots with 6 files" in check.stdout
        history = places[1].run("armwheels", "history", "nightly")
        assert history.stdout.count("armwheels nightly --matrix six") == 1
        statistics = counted(places[1].home / "cache/ccache", toolbox)
        assert statistics["remote_storage_hit"] > 0, statistics
        listed = places[1].run("armwheels", "worker", "--list")
        assert "x86_64" in listed.stdout
        again = places[1].run("armwheels", "nightly", "--matrix", "six")
        assert "nothing new: no snapshot was made" in again.stdout, again.stdout + again.stderr
