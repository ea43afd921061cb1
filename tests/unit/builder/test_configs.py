"""The strict reader of ``configs/``: every misspelt key is refused, with the nearest key of its own table."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from builder import cli
from builder.errors import ConfigError
from builder.load import load_configs
from builder.model.base import Config
from builder.model.channel import Channel
from builder.model.matrix import Matrix
from builder.model.recipe import Recipe, RecipeFile
from builder.model.sources import Followed
from builder.model.target import TargetTable
from builder.model.toolchains import Toolchains
from builder.settings import ROOT, VARIABLES, validate, variable
from tests.helpers.builds import RECIPE

Change = Callable[[str, str, str], None]

MISSPELT = [
    # file, the right text, the wrong one, the place, the advice
    ("recipes/numpy.toml", "[build]", "[buidl]", "buidl", "'build'"),
    ("recipes/numpy.toml", "glibc =", "glib =", "build.glib", "'glibc'"),
    ("recipes/numpy.toml", '[versions."2.4.6"]', '[version."2.4.6"]', "version", "'versions'"),
    ("recipes/numpy.toml", "epoch = 1", "epoc = 1", 'versions."2.4.6".epoc', "'epoch'"),
    ("recipes/numpy.toml", "filename = ", "file_name = ", 'versions."2.4.6".source.file_name', "'filename'"),
    (
        "recipes/numpy.toml",
        "pkg_config = ",
        "pkgconfig = ",
        "backends.openblas.dependencies[0].pkgconfig",
        "'pkg_config'",
    ),
    ("recipes/numpy.toml", "default = true", "defualt = true", "backends.openblas.defualt", "'default'"),
    ("recipes/numpy.toml", "max_size_bytes", "max_size", "audit.max_size", "'max_size_bytes'"),
    ("recipes/numpy.toml", "neoverse-v1 = [", "neovers-v1 = [", "promises", "'neoverse-v1'"),
    ("recipes/numpy.toml", 'compiler = "zig"', 'compiler = "zigg"', "build.compiler", "'zig'"),
    ("recipes/pytorch.toml", "[build.needs]", "[build.need]", "build.need", "'needs'"),
    ("recipes/pytorch.toml", "[follows.nightly]", "[follow.nightly]", "follow", "'follows'"),
    ("matrices.toml", 'recipe = "numpy"', 'recipe = "nunpy"', "quick.cells[0]", "'numpy'"),
    ("matrices.toml", 'backends = ["ruy"]', 'backends = ["rui"]', "quick.cells[1]", "'ruy'"),
    ("toolchains.toml", "identifier =", "identifer =", "pythons.cp311.identifer", "'identifier'"),
    ("toolchains.toml", "packages =", "package =", "tools.gnu.package", "'packages'"),
    ("toolchains.toml", "requirements =", "requirement =", "tools.zig.requirement", "'requirements'"),
    ("toolchains.toml", "libstdcxx =", "libstdcx =", "compilers.gcc.libstdcx", "'libstdcxx'"),
    ("toolchains.toml", 'part = "gnu-14"', 'part = "gnu14"', "compilers.gcc-14", "'gnu-14'"),
    ("toolchains.toml", "{ neoverse-v2 =", "{ neovers-v2 =", "compilers.gcc.cpus", "'neoverse-v2'"),
    ("recipes/msgpack.toml", 'compiler = "gcc-14"', 'compiler = "gc14"', "build.compiler", "'gcc-14'"),
]
OVERWRITTEN = [
    # keys that a model beside the file's once took, to overwrite them
    ("[audit]", '[audit]\npromises = ["sve"]', "audit.promises"),
    ("[audit]", '[audit]\nbaseline_flags = ["-mcpu=generic"]', "audit.baseline_flags"),
    ("[audit]", '[audit]\nsupplied = { requirement = "x", libraries = [] }', "audit.supplied"),
    ("[audit]", "[followed]\n[audit]", "followed"),
    ("[build]", 'homepage = "https://example.org"\n[build]', 'versions."2.4.6".homepage'),
    ('frontend = "meson-python"', 'frontend = "setuptools"', "`meson_properties` is for the frontend"),
]


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Change:
    """Changes a copy of this project's ``configs``, which the code under test reads."""
    configs = tmp_path / "configs"
    shutil.copytree(ROOT / "configs", configs)
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(configs))

    def change(file: str, right: str, wrong: str) -> None:
        text = (configs / file).read_text(encoding="utf-8")
        assert right in text
        (configs / file).write_text(text.replace(right, wrong, 1), encoding="utf-8")

    return change


def faults() -> str:
    with pytest.raises(ConfigError) as caught:
        load_configs()
    return str(caught.value)


@pytest.mark.parametrize(("file", "right", "wrong", "place", "advice"), MISSPELT)
def test_what_is_misspelt_is_named_with_the_nearest(
    change: Change, file: str, right: str, wrong: str, place: str, advice: str
) -> None:
    change(file, right, wrong)
    message = faults()
    assert any(place in line and f"did you mean {advice}?" in line for line in message.splitlines()), message


@pytest.mark.parametrize(("right", "wrong", "place"), OVERWRITTEN)
def test_what_would_be_overwritten_or_never_read_is_refused(
    change: Change, right: str, wrong: str, place: str
) -> None:
    change("recipes/numpy.toml", right, wrong)
    assert place in faults()


def test_a_key_of_another_table_is_no_advice(change: Change) -> None:
    change("channels.toml", "approvals = 0", "retention_days = 3")
    assert "stable.gates.retention_days: unknown key; this table has from, required, evidence, approvals" in (
        faults()
    )


def test_the_faults_of_all_files_come_together(change: Change) -> None:
    change("recipes/numpy.toml", "glibc =", "glib =")
    change("recipes/msgpack.toml", 'frontend = "setuptools"', 'frontend = "setuptool"')
    change("channels.toml", "[stable.gates]", "[stable.gate]")
    change("matrices.toml", "required = true", "requird = true")
    change("targets.toml", "also_runs =", "also_run =")
    change("toolchains.toml", "architecture =", "arch =")
    message = faults()
    for part in (
        "build.glib",
        "build.frontend: must be 'meson-python'",
        "stable.gate:",
        "cells[0].requird",
        "also_run",
        "gnu.arch",
    ):
        assert part in message


def test_a_tag_of_no_kind_is_named(change: Change) -> None:
    change("recipes/numpy.toml", 'kind = "sdist"', 'kind = "sdists"')
    assert "source: 'kind' must be one of 'sdist', 'archive', 'git'" in faults()
    change("recipes/numpy.toml", 'kind = "sdists"', 'kin = "sdist"')
    assert "source: the key 'kind' is missing" in faults()


@pytest.mark.parametrize(
    "command",
    [
        ["plan"],
        ["targets"],
        ["lock"],
        ["doctor"],
        ["build", "numpy-2.4.6-cp313-generic-openblas"],
        ["nightly"],
        ["audit", __file__],
        ["verify", __file__],
        ["publish", __file__],
        ["python", "--", "-V"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_that_reads_configs_refuses_a_fault_in_any_file(
    change: Change, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change("channels.toml", "[stable.gates]", "[stable.gate]")
    monkeypatch.setattr("sys.argv", ["armwheels", *command])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
    assert "stable.gate: unknown key; did you mean 'gates'?" in capsys.readouterr().err


def test_a_pinned_branch_is_no_key_of_a_recipe(recipe: Recipe) -> None:
    assert set(Recipe.model_fields) - set(RecipeFile.model_fields) == {"followed"}
    with pytest.raises(ConfigError, match="followed: unknown key"):
        validate(RecipeFile, {**RECIPE, "followed": {}}, origin="demo.toml")


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and all that its fields hold."""
    found = {model}
    for field in model.model_fields.values():
        waiting = [field.annotation]
        while waiting:
            one = waiting.pop()
            waiting += getattr(one, "__args__", ())
            if isinstance(one, type) and issubclass(one, BaseModel):
                found |= _models(one)
    return found


@pytest.mark.parametrize("model", [RecipeFile, Matrix, Channel, TargetTable, Toolchains, Followed])
def test_every_key_has_a_description_of_one_sentence_or_two(model: type[BaseModel]) -> None:
    for table in _models(model):
        assert issubclass(table, Config), table
        for name, field in table.model_fields.items():
            assert field.description, f"{table.__name__}.{name}"
            assert re.fullmatch(r"\S[^\n]*\.", field.description), f"{table.__name__}.{name}"


def _read_by_the_builder() -> set[str]:
    """Names of variables in the builder's own code, documentation strings left out."""
    found: set[str] = set()
    for path in (ROOT / "builder").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"ARMWHEELS_[A-Z_]+", node.value)
        }
    return found


def test_the_table_of_variables_is_complete() -> None:
    internal = {"ARMWHEELS_OWNER", "ARMWHEELS_WORK"}  # mark processes; nobody sets them by hand
    assert _read_by_the_builder() - internal == {one.name for one in VARIABLES}


def test_a_variable_outside_the_table_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError):
        variable("ARMWHEELS_HOUSE")
    monkeypatch.setenv("ARMWHEELS_INDEX", "")
    assert variable("ARMWHEELS_INDEX") is None


def test_the_environment_is_read_for_our_variables_in_one_place() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "builder").rglob("*.py")
        if re.search(r"(environ(\.get\(|\[)|getenv\()[\"']ARMWHEELS_", path.read_text(encoding="utf-8"))
    ]
    assert readers == []


def test_files_that_a_recipe_names_are_looked_for_at_once(change: Change) -> None:
    change("recipes/numpy.toml", 'script = "numpy_wheel.py"', 'script = "numpy_weel.py"')
    change("recipes/numpy.toml", 'file = "numpy-2.4.6-vector-math.patch"', 'file = "vector.patch"')
    change("recipes/msgpack.toml", 'script = "msgpack_wheel.py"', 'script = "none.txt"')
    lines = faults().splitlines()
    assert any(
        "no file 'numpy_weel.py' in " in line and "did you mean 'numpy_wheel.py'?" in line for line in lines
    )
    assert any(line.endswith("recipes/vector.patch: no such patch") for line in lines)
    assert any("msgpack.toml: no file 'none.txt' in " in line for line in lines)


def test_a_patch_that_was_edited_is_told_with_its_hash(change: Change) -> None:
    change("recipes/numpy-2.4.6-vector-math.patch", "diff --git", "diff  --git")
    assert re.search(
        r"numpy-2\.4\.6-vector-math\.patch: sha256 is [0-9a-f]{64}, the recipe pins [0-9a-f]{64}", faults()
    )
