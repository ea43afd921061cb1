"""Faults of a recipe that its source and its compiler show before anything is compiled."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.compile import early
from builder.compile.compilers.base import Commands
from builder.errors import ConfigError, SourceError
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.model.sources import GitSource
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for

MESON = '[build-system]\nrequires = []\nbuild-backend = "mesonpy"\n'
SETUPTOOLS = '[build-system]\nrequires = []\nbuild-backend = "setuptools.build_meta"\n'


def build(targets: Targets, **settings: object) -> Build:
    given = {**RECIPE["build"], "options": [], **settings}
    return build_for(validate(Recipe, {**RECIPE, "build": given}, origin="x"), targets)


def tree(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def faults(made: Build, folder: Path) -> str:
    return "\n".join(early.source_faults(made, folder))


def test_a_source_that_fits_has_no_fault(tmp_path: Path, targets: Targets) -> None:
    tree(tmp_path, pyproject__toml=SETUPTOOLS, **{"PKG-INFO": "Name: demo\nRequires-Python: >=3.9\n"})
    assert faults(build(targets), tmp_path) == ""
    early.check_source(build(targets), tmp_path)
    (tmp_path / "pyproject.toml").unlink()
    assert faults(build(targets), tmp_path) == ""


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        ({"pyproject__toml": MESON}, {}, 'of the source is mesonpy; use frontend = "meson-python"'),
        (
            {"pyproject__toml": '[build-system]\nbuild-backend = "flit_core.buildapi"\n'},
            {"frontend": "meson-python"},
            'build.frontend is "meson-python", but the build backend of the source is flit_core.buildapi',
        ),
        ({"pyproject__toml": "a = ["}, {}, "pyproject.toml of the source is not valid TOML"),
        ({"PKG-INFO": "Requires-Python: >=3.12\n"}, {}, "version 1.0 needs Python >=3.12, which cp311 is not"),
        ({"pyproject__toml": '[project]\nrequires-python = "<3.10"\n'}, {}, "version 1.0 needs Python <3.10"),
        (
            {"pyproject__toml": MESON, "meson_options__txt": "option('allow-noblas', type: 'boolean')"},
            {"frontend": "meson-python", "options": ["-Dallow-noblass=true", "-Dbuildtype=release", "-Dsub:x=1"]},
            "no option file of the source has -Dallow-noblass, did you mean -Dallow-noblas?",
        ),
        ({"CMakeLists__txt": "option(USE_FAST)"}, {"options": ["-DUSE_FASTT=ON"]}, "did you mean -DUSE_FAST?"),
    ],
)  # fmt: skip
def test_each_fault_is_one_sentence(
    tmp_path: Path, targets: Targets, files: dict[str, str], settings: dict[str, object], message: str
) -> None:
    made = build(targets, **settings)
    found = list(early.source_faults(made, tree(tmp_path, **files)))
    assert len(found) == 1
    assert message in found[0]
    with pytest.raises(ConfigError):
        early.check_source(made, tmp_path)


def test_patches_that_do_not_apply_are_faults_and_absent_sources_are_not(
    tmp_path: Path, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "x.patch does not apply:\nerror"

    def prepare(*_: object) -> Path:
        raise SourceError(message)

    monkeypatch.setattr(early, "prepare", prepare)
    toolbox: Any = SimpleNamespace(home=tmp_path)
    assert early.early_faults([build(targets)], toolbox) == ([f"recipe demo 1.0: {message}"], [])
    message = "the index does not answer"
    found, notes = early.early_faults([build(targets)], toolbox)
    assert (found, notes) == ([], [f"demo 1.0 was not examined: {message}"])


def test_a_git_source_is_asked_once_for_all_its_builds(
    tmp_path: Path, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answers(source: GitSource) -> None:
        asked.append(source.url)
        raise SourceError(f"the repository {source.url} gives nothing: Could not resolve host")

    monkeypatch.setattr(early, "check_answers", answers)
    url, commit = "https://example.org/demo", "a" * 40
    versions = {"1.0": {"epoch": 1_700_000_000, "source": {"kind": "git", "url": url, "commit": commit}}}
    recipe = validate(Recipe, {**RECIPE, "versions": versions}, origin="x")
    toolbox: Any = SimpleNamespace(home=tmp_path)
    found, notes = early.early_faults([build_for(recipe, targets)] * 3, toolbox)
    assert (found, asked) == ([], [url])
    assert notes == [f"demo 1.0 was not examined: the repository {url} gives nothing: Could not resolve host"]


def test_a_flag_that_the_compiler_does_not_know_is_named(
    tmp_path: Path, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *-fno-mth-errno*) echo "cc: error: unrecognized option" >&2; exit 1;; esac\n'
    )
    compiler.chmod(0o755)
    commands = Commands(cc=compiler, cxx=compiler, ar=compiler, ranlib=compiler, strip=compiler)
    monkeypatch.setattr(early, "write_wrappers", lambda *_, **__: commands)
    monkeypatch.setattr(early, "compiler_of", lambda *_: SimpleNamespace(environment=lambda _: {}))
    here: Any = SimpleNamespace(
        has=lambda part: part in ("zig", "ccache"),
        toolchains=SimpleNamespace(compilers={"zig": SimpleNamespace(tools=("zig",))}),
    )
    wrong, right = (build(targets, cflags=["-O3", flag]) for flag in ("-fno-mth-errno", "-fno-math-errno"))
    assert list(early.flag_faults(wrong, here)) == [
        "recipe demo: build.cflags, build.hot_flags: zig refuses them: unrecognized option"
    ]
    assert list(early.flag_faults(right, here)) == []
    here.has = lambda part: part == "zig"
    assert list(early.flag_faults(wrong, here)) == []  # nothing to ask yet
