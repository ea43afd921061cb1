"""Each new version is tried once, in a copy of the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.errors import CompileError, StoppedError
from builder.load import load_configs
from builder.settings import configs_dir, home_dir
from builder.source import archives
from builder.watch import newer as finding
from builder.watch.watch import Tried, Watched, markdown, watch
from tests.unit.builder.recipes.conftest import FakeIndex

Run = Callable[..., int]
Build = Callable[[str, str, str], Iterator[Tried]]


@pytest.fixture
def recipe(index: FakeIndex, own: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(archives, "fetch_pypi", index.fetch)
    monkeypatch.setattr(finding, "list_pypi", index.list_files)
    monkeypatch.setattr("builder.watch.candidate.refresh_requirements", lambda *_: [])
    index.sdist("1.0")
    assert run("recipe", "new", "demo-pack", "--no-lock") == 0
    return own / "demo-pack.toml"


class Builder:
    """Notes what it is asked to build, and by which configuration."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.asked: list[tuple[str, str, str]] = []
        self.seen: list[tuple[str, ...]] = []

    def __call__(self, matrix: str, recipe: str, version: str) -> Iterator[Tried]:
        self.asked.append((matrix, recipe, version))
        configs = load_configs()
        self.seen.append(tuple(configs.recipe(recipe).versions))
        assert configs_dir().is_relative_to(home_dir() / "watch/candidates")
        yield Tried(build=f"{recipe}-{version}", passed=not self.fault, detail=self.fault, seconds=1)


def look(builder: Build, **options: bool) -> Watched:
    configs = load_configs()
    matrix = configs.matrix("demo-pack")
    return watch(configs.recipes, "demo-pack", matrix, home_dir(), builder, lambda _: None, **options)


def test_a_new_version_is_built_beside_the_recipe_that_works(index: FakeIndex, recipe: Path) -> None:
    before = {path: path.read_bytes() for path in recipe.parent.rglob("*") if path.is_file()}
    variables = dict(os.environ)
    index.sdist("1.1")
    builder = Builder()
    watched = look(builder)
    [found] = watched.findings
    assert found.outcome == "passed"
    assert (found.newer.old, found.newer.new) == ("1.0", "1.1")
    assert builder.asked == [("demo-pack", "demo-pack", "1.1")]
    assert builder.seen == [("1.1",)]
    assert {path: path.read_bytes() for path in recipe.parent.rglob("*") if path.is_file()} == before
    assert dict(os.environ) == variables
    assert "## demo-pack 1.0 -> 1.1: passed" in markdown(watched)


def test_a_version_is_tried_once_until_its_pin_changes(index: FakeIndex, recipe: Path) -> None:
    index.sdist("1.1")
    builder = Builder("fast.c:1: error: no such thing")
    first = look(builder)
    assert [one.outcome for one in first.findings] == ["failed"]
    assert "demo-pack-1.1: failed: fast.c:1: error: no such thing" in markdown(first)
    assert look(builder).findings == first.findings
    assert len(builder.asked) == 1
    look(builder, again=True)
    assert len(builder.asked) == 2
    index.sdist("1.2")
    assert [one.newer.new for one in look(builder).findings] == ["1.2"]
    assert len(builder.asked) == 3


def test_nothing_is_built_where_only_names_are_asked_for(index: FakeIndex, recipe: Path) -> None:
    index.sdist("1.1")
    builder = Builder()
    assert [one.outcome for one in look(builder, tries=False).findings] == ["not tried"]
    assert not builder.asked


def test_what_stops_a_candidate_is_its_result(index: FakeIndex, recipe: Path) -> None:
    def broken(*_: str) -> Iterator[Tried]:
        raise CompileError("no\nwheel")

    index.sdist("1.1")
    [found] = look(broken).findings
    assert (found.outcome, found.stopped) == ("failed", "no\nwheel")


def test_ctrl_c_leaves_no_result(index: FakeIndex, recipe: Path) -> None:
    def stopped(*_: str) -> Iterator[Tried]:
        raise StoppedError("stopped")

    index.sdist("1.1")
    variables = dict(os.environ)
    with pytest.raises(StoppedError):
        look(stopped)
    assert dict(os.environ) == variables
    assert not (home_dir() / "watch/lock.json").exists()


def test_retired_versions_leave_the_matrix_by_its_rule(
    index: FakeIndex, recipe: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    matrices = recipe.parent / "matrices.toml"
    matrices.write_text(matrices.read_text().replace("versions =", "newest = 2\nversions ="))
    for version in ("1.1", "1.2"):
        index.sdist(version)
        assert run("recipe", "update", "demo-pack", "--no-lock") == 0
    configs = load_configs()
    assert configs.matrix("demo-pack").cells[0].versions == ("1.1", "1.2")
    assert set(configs.recipe("demo-pack").versions) == {"1.0", "1.1", "1.2"}
    assert configs.recipe("demo-pack").versions["1.1"].source.filename == "demo_pack-1.1.tar.gz"
    assert "version 1.0 leaves the matrices" in capsys.readouterr().out


def test_nothing_newer_is_said(index: FakeIndex, recipe: Path) -> None:
    assert markdown(look(Builder())) == "nothing is newer than the recipes"
