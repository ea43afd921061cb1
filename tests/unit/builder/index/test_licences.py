"""A licensed library is never published: neither by `nightly` nor by `publish`, wherever the wheel was built."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from builder import cli
from builder.commands import wheels
from builder.errors import ConfigError
from builder.index.licences import licensed_library, refuse_licensed
from builder.load import load_recipes
from builder.model.recipe import Recipe
from builder.repair.passport import make_passport
from builder.settings import validate
from builder.targets import Targets
from builder.toolbox.toolbox import Toolbox
from index_server.names import parse_name
from index_server.rules import passport as index_rule
from index_server.settings import load_settings
from tests.helpers.builds import RECIPE, build_for
from tests.helpers.wheels import make_passport as index_passport
from tests.helpers.wheels import make_wheel

PLATFORM = "manylinux_2_31_aarch64"
ARMPL = f"torch-2.6.0+neoverse.v1.onednn.armpl-1_3fa9c2d1-cp311-cp311-{PLATFORM}.whl"


def passport(**changes: object) -> dict[str, object]:
    facts = index_passport(recipe="pytorch", version="2.6.0", backend="onednn-armpl", default_backend=False)
    return {**facts, **changes}


@pytest.mark.parametrize(
    ("changes", "library"),
    [
        ({}, "ARMPL_DIR"),  # the recipe says it: a wheel of an older Armwheels
        ({"licensed": "OTHER"}, "OTHER"),
        ({"recipe": "unknown", "licensed": "OTHER"}, "OTHER"),
        ({"backend": "gone", "licensed": "OTHER"}, "OTHER"),
        ({"backend": "openblas"}, None),
        ({"backend": "gone"}, None),
        ({"recipe": "unknown"}, None),
    ],
)
def test_a_wheel_is_recognised_by_its_passport_or_its_recipe(
    changes: dict[str, object], library: str | None
) -> None:
    assert licensed_library(passport(**changes), load_recipes()) == library


def test_each_licensed_one_is_named() -> None:
    refuse_licensed({"a": None})
    with pytest.raises(ConfigError, match="a, c may not be published"):
        refuse_licensed({"a": "X", "b": None, "c": "X"})


def test_publish_refuses_it_before_anything_is_run_or_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ARMPL
    path.write_bytes(make_wheel(ARMPL, passport=passport()))

    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be run or sent")

    monkeypatch.setattr(wheels.Project, "examine", unexpected)
    monkeypatch.setattr(wheels, "open_index", unexpected)
    result = CliRunner().invoke(cli.make_app(), ["publish", str(path)])
    assert isinstance(result.exception, ConfigError)
    assert f"{ARMPL} may not be published" in str(result.exception)


def test_the_passport_of_such_a_build_says_it_and_the_index_refuses_it(
    targets: Targets, tmp_path: Path
) -> None:
    backends = {"openblas": {"default": True}, "armpl": {"licensed": "ARMPL_DIR"}}
    recipe = validate(Recipe, {**RECIPE, "backends": backends}, origin="demo.toml")
    toolbox = Toolbox(home=tmp_path)
    toolbox.pins = toolbox.pins.model_copy(
        update={"parts": dict.fromkeys(build_for(recipe, targets).compile_inputs["toolchain"], ())}
    )
    known = load_settings().targets
    for backend, refused in (("armpl", True), ("openblas", False)):
        build = build_for(recipe, targets, backend=backend)
        made = make_passport(build, build.flags, toolbox)
        filename = f"demo-{build.full_version}-{build.build_tag}-cp311-cp311-{PLATFORM}.whl"
        faults = index_rule.disagreements(made, parse_name(filename), known)
        assert (made.get("licensed") == "ARMPL_DIR") is refused
        assert any("never published" in fault for fault in faults) is refused
        assert len(faults) == refused


def test_only_the_digests_of_licensed_builds_know_of_it(targets: Targets) -> None:
    backends = {"openblas": {"default": True}, "armpl": {}}
    digests = [
        {
            backend: build_for(
                validate(Recipe, {**RECIPE, "backends": {**backends, "armpl": armpl}}, origin="demo.toml"),
                targets,
                backend=backend,
            ).wheel_digest
            for backend in backends
        }
        for armpl in ({}, {"licensed": "ARMPL_DIR"})
    ]
    assert digests[0]["openblas"] == digests[1]["openblas"]
    assert digests[0]["armpl"] != digests[1]["armpl"]
