"""Runs what an image holds on the emulated CPU of its target, with the image's own Python and C library."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from builder.emulation.emulate import stand_in
from builder.emulation.environment import EmulatedPython
from builder.emulation.verify import run_script
from builder.errors import PublishError
from builder.images.layers import unpack
from builder.images.layout import read_manifest
from builder.images.make import PYTHON, TARGET, Image
from builder.images.registry import Registry
from builder.model.base import Frozen
from builder.model.recipe import Recipe
from builder.targets import Target
from builder.toolbox.toolbox import Toolbox


class Pulled(Frozen):
    """An unpacked image: its root folder, Python tag and target."""

    root: Path
    tag: str
    target: str


def try_image(
    image: Image,
    target: Target,
    recipes: Mapping[str, Recipe],
    toolbox: Toolbox,
    progress: Callable[[str], None],
) -> list[str]:
    """Run the tests of each tuned wheel's recipe in the unpacked image; returns the faults.

    Raises:
        VerifyError: the emulated Python cannot be started, or a test did not end in time.
    """
    faults = []
    layers = [image.layout / one.blob for one in read_manifest(image.layout, image.manifest).layers]
    with unpacked(layers, toolbox) as root:
        emulated = EmulatedPython(toolbox, image.annotations[PYTHON], stand_in(target).cpu, root=root)
        for wheel in image.tuned:
            passport = wheel.passport or {}
            recipe = recipes.get(passport["recipe"])
            if recipe is None or passport["version"] not in recipe.versions:
                faults.append(f"{wheel.project}: no recipe of this version says how to test it")
                continue
            progress(f"running {recipe.verify.script} in the image ({emulated.cpu.split(',')[0]})")
            checks = run_script(emulated, recipe, passport["version"])
            faults += [
                f"{wheel.project}: {one.name}: {one.detail}" for one in checks if one.outcome == "fail"
            ]
    return faults


@contextmanager
def unpacked(layers: Iterable[Path], toolbox: Toolbox) -> Iterator[Path]:
    """A root folder with the layers one over the other, for this block."""
    scratch = toolbox.home / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="image-"))
    try:
        for layer in layers:
            unpack(layer, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def pulled(registry: Registry, toolbox: Toolbox) -> Iterator[Pulled]:
    """An image of a registry, unpacked for this block.

    Raises:
        PublishError: it cannot be pulled, or was not made by Armwheels.
    """
    blobs = toolbox.home / "downloads/blobs"
    manifest = registry.pull(blobs)
    if missing := [key for key in (PYTHON, TARGET) if key not in manifest.annotations]:
        raise PublishError(
            f"{registry.at} was not made by `armwheels image`: it has no annotation {missing[0]}"
        )
    with unpacked([blobs / one.sha256 for one in manifest.layers], toolbox) as root:
        yield Pulled(root=root, tag=manifest.annotations[PYTHON], target=manifest.annotations[TARGET])
