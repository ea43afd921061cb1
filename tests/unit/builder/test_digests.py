"""The digests of the matrix `quick` stay what they are."""

from __future__ import annotations

from builder.ingredients import gather_ingredients
from builder.load import load_configs
from builder.plan import make_builds
from builder.toolbox.pins import load_pins

QUICK = {
    "numpy-2.4.6-cp313-generic-openblas": "e70501c7",
    "numpy-2.4.6-cp313-neoverse-n1-openblas": "57f7f224",
    "numpy-2.4.6-cp313-neoverse-v1-openblas": "e900e378",
    "tflite-runtime-2.14.1-cp313-neoverse-v1-ruy": "b89336c6",
}


def test_a_change_that_concerns_no_compiler_changes_no_compile_digest() -> None:
    """A digest is the key of hours of compiling, and it stands in the name of each published wheel.

    Where this fails, either a refactoring has changed what enters the digests, which must be mended, or recipes,
    pins or stage versions were changed on purpose: then the new digests belong here.
    """
    configs = load_configs()
    ingredients = gather_ingredients(configs.recipes, configs.toolchains, load_pins())
    builds = make_builds(configs.matrix("quick"), configs.recipes, configs.targets, ingredients)
    assert {build.id: build.compile_digest[:8] for build in builds} == QUICK
