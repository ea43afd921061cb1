"""Which pins ``armwheels lock`` renews."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from builder.cli import make_app
from builder.commands import lock
from builder.errors import ConfigError
from builder.load import load_configs
from builder.refresh import built_pythons


@pytest.fixture
def renewed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the command renews, in order; nothing is resolved."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        lock.renewal, "refresh_requirements", lambda recipe, tag, _: calls.append((recipe.name, tag))
    )
    monkeypatch.setattr(lock.renewal, "refresh_followed", lambda recipe, _: calls.append((recipe.name,)))
    return calls


def _run(*arguments: str) -> BaseException | None:
    return CliRunner().invoke(make_app("lock"), ["lock", *arguments]).exception


def test_one_recipe_for_one_python(renewed: list[tuple[str, ...]]) -> None:
    assert _run("--recipe", "msgpack", "--python", "cp313") is None
    assert renewed == [("msgpack", "cp313")]


def test_a_recipe_has_the_pythons_of_its_matrices(renewed: list[tuple[str, ...]]) -> None:
    assert _run("--recipe", "msgpack") is None
    pythons = built_pythons("msgpack", load_configs().matrices)
    assert renewed == [*(("msgpack", tag) for tag in pythons), ("msgpack",)]
    assert set(pythons) >= {"cp311", "cp313", "cp314", "cp315"}


def test_a_recipe_that_no_matrix_builds_needs_a_python() -> None:
    with pytest.raises(ConfigError, match="no matrix builds demo; name a Python with --python"):
        built_pythons("demo", load_configs().matrices)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--python", "cp313"], "--python needs --recipe"),
        (["--recipe", "msgpack", "--python", "cp31", "--python", "cp313t"], "no Python 'cp31'; did you mean"),
    ],
)
def test_a_python_that_is_not_there_renews_nothing(
    renewed: list[tuple[str, ...]], arguments: list[str], fault: str
) -> None:
    assert fault in str(_run(*arguments))
    assert renewed == []


def test_parts_that_are_not_there_are_named_with_the_nearest(renewed: list[tuple[str, ...]]) -> None:
    first, second, known = str(_run("--part", "pyhton-cp313", "--part", "zzzzz")).splitlines()
    assert first == "no part 'pyhton-cp313'; did you mean 'python-cp313'?"
    assert second == "no part 'zzzzz'"
    assert known.startswith("there are ")
    assert "python-cp313" in known
    assert renewed == []
