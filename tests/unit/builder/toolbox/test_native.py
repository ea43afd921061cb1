"""The toolbox of an arm64 host: its programs are for arm64, and its builds have digests of their own."""

from __future__ import annotations

import pytest

from builder.errors import ConfigError
from builder.ingredients import gather_ingredients
from builder.load import load_configs
from builder.plan import make_builds
from builder.toolbox.pins import Pins, load_pins, pins_on
from builder.toolbox.tools import load_toolchains

HOST_PARTS = ("gnu-14", "llvm", "qemu", "qemu-plugins", "python-cp311", "python-cp313", "zig", "ccache")


@pytest.fixture(scope="module")
def native() -> Pins:
    return pins_on("aarch64", load_pins(), load_toolchains())


def test_other_hosts_keep_their_pins() -> None:
    assert pins_on("x86_64", load_pins(), load_toolchains()) == load_pins()


@pytest.mark.parametrize("part", HOST_PARTS)
def test_programs_are_for_arm64(native: Pins, part: str) -> None:
    files = native.files(part)
    assert files
    for file in files:
        assert file.filename.endswith(("_arm64.deb", "_all.deb")) or "aarch64" in file.filename
    assert native.digest(part) != load_pins().digest(part)


@pytest.mark.parametrize("part", ["sysroot-bullseye", "headers-cp313", "userland-cp313", "libyaml"])
def test_what_is_for_arm64_on_every_host_is_the_same(native: Pins, part: str) -> None:
    assert native.digest(part) == load_pins().digest(part)


def test_a_part_without_programs_for_arm64_is_named(native: Pins) -> None:
    with pytest.raises(ConfigError, match="the part 'bazel' has no programs for arm64 hosts"):
        native.files("bazel")


def test_native_builds_have_digests_of_their_own(native: Pins) -> None:
    configs = load_configs()
    recipes, toolchains = configs.recipes, configs.toolchains

    def digests(pins: Pins) -> list[tuple[str, str]]:
        ingredients = gather_ingredients(recipes, toolchains, pins)
        builds = make_builds(configs.matrix("small"), recipes, configs.targets, ingredients)
        return [(build.compile_digest, build.wheel_digest) for build in builds]

    assert not {one for pair in digests(native) for one in pair} & {
        one for pair in digests(load_pins()) for one in pair
    }


def test_a_recipe_that_such_a_host_cannot_build_is_refused(native: Pins) -> None:
    configs = load_configs()
    ingredients = gather_ingredients(configs.recipes, configs.toolchains, native)
    with pytest.raises(
        ConfigError, match=r"tensorflow wants the part 'bazel', which .* for this kind of host"
    ):
        make_builds(configs.matrix("tensorflow"), configs.recipes, configs.targets, ingredients)
