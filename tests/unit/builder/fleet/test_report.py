"""The report of a night, and the log of a stage."""

from __future__ import annotations

from pathlib import Path

from builder.errors import PublishError
from builder.fleet.logs import Log
from builder.fleet.model import Night, Published, Result, Stage
from builder.fleet.report import compose, markdown

NIGHT = Night(
    night="20261128-030000-0a1b2c3d",
    matrix="demo",
    channel="nightly",
    results=(
        Result(
            build="demo-generic",
            required=True,
            outcome="built",
            filename="demo.whl",
            sha256="0" * 64,
            size=2_000_000,
            speed=0.98,
            cpu_seconds=60.0,
            shared=3,
            compiled=5,
            stages=(
                Stage(name="compile", host="one", seconds=40),
                Stage(name="audit", host="one", seconds=2),
            ),
            attempts=2,
        ),
        Result(build="demo-v1", required=False, outcome="failed", detail="a.c: error\nfull log: x"),
    ),
    published=Published(snapshot="20261128-1", moved=True, detail="nightly moved to 20261128-1"),
    began="2026-11-28T03:00:00+00:00",
)


def test_a_report_is_held_against_the_last_one() -> None:
    before = compose(NIGHT, 60, None).model_dump(mode="json")
    before["night"], before["rows"][0]["size"] = "20261127-030000-0a1b2c3d", 1_999_000
    text = markdown(compose(NIGHT, 65.4, before))
    assert "# Night 20261128-030000-0a1b2c3d: 1 of 2 wheels" in text
    assert "1 min 05 s. nightly: nightly moved to 20261128-1." in text
    assert "compared with the night 20261127-030000-0a1b2c3d" in text
    assert "## failed: demo-v1\n\n    a.c: error\n    full log: x\n" in text
    row = "| demo-generic | built (attempt 2) | 2.0 MB (+1,000 bytes) | at most 0.980 times | 42 | 60 | 3 of 8 |"
    assert row in text


def test_a_size_is_remembered_over_a_night_that_built_nothing() -> None:
    first = compose(NIGHT, 60, None).model_dump(mode="json")
    quiet = NIGHT.model_copy(
        update={"results": (NIGHT.results[0].model_copy(update={"size": 0}), NIGHT.results[1])}
    )
    second = compose(quiet, 3, first).model_dump(mode="json")
    assert compose(NIGHT, 60, second).rows[0].size_before == 2_000_000


class Kept:
    """An index that takes the parts of logs, or none."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.away = False

    def add_log(self, build: str, night: str, part: str, text: str) -> None:
        if self.away:
            raise PublishError("away")
        self.parts[part] = text


def log_of(index: Kept, file: Path) -> Log:
    return Log(index, "demo", "20261128-030000-0a1b2c3d", "compile", 3, file)  # type: ignore[arg-type]  # a model of it


def test_a_log_has_the_growth_of_its_file_in_the_order_of_its_lines(tmp_path: Path) -> None:
    index, file = Kept(), tmp_path / "build.log"
    file.write_text("of an older build\n")
    with log_of(index, file) as log:
        log.say("source")
        with file.open("a") as more:
            more.write("cc a.c\n")
        log.say("compile")
        log.say("compile")
        log.send()
        with file.open("a") as more:
            more.write("cc b.c\n")
    first, second = (index.parts[part] for part in sorted(index.parts))
    assert [line.partition("] ")[2] or line for line in first.splitlines()] == ["source", "cc a.c", "compile"]
    assert second == "cc b.c\n"
    assert all("-3-compile-0000" in part for part in index.parts)


def test_what_an_index_did_not_take_comes_with_the_next_part(tmp_path: Path) -> None:
    index = Kept()
    index.away = True
    with log_of(index, tmp_path / "build.log") as log:
        log.say("source")
        log.send()
        assert not index.parts
        index.away = False
        log.say("compile")
    [text] = index.parts.values()
    assert [line.partition("] ")[2] for line in text.splitlines()] == ["source", "compile"]
