"""Makes the image of one target: a CPython, and wheels of one snapshot. The same snapshot gives the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from builder.images.containerfile import containerfile
from builder.images.layers import LAYER_VERSION, USER, Layer, make_layer
from builder.images.layout import Descriptor, read_image, write_image
from builder.images.sbom import make_sbom
from builder.images.userland import lay_userland
from builder.images.wheels import Chosen, install_wheel, write_bytecode
from builder.index.client import SnapshotContent
from builder.model.base import Frozen
from builder.model.pythons import version_of
from builder.targets import Target
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once

IMAGE_VERSION = 1
"""Raise this by hand when the same wheels give another image. It enters the key of every image."""
TARGET, PYTHON, SNAPSHOT = "armwheels.target", "armwheels.python", "armwheels.snapshot"
"""Annotations of an image, beside those of image-spec."""

_ABOUT = "usr/share/armwheels"
_ENVIRONMENT = (
    "PATH=/usr/local/bin:/usr/bin",
    "LANG=C.UTF-8",
    "HOME=/home/nonroot",
)


class Image(Frozen):
    """An image on disk.

    ``folder`` holds the image layout ``layout``, ``Containerfile``, ``requirements.txt`` and ``sbom.cdx.json``.
    """

    folder: Path
    manifest: Descriptor
    wheels: tuple[Chosen, ...]
    annotations: dict[str, str]

    @property
    def layout(self) -> Path:
        return self.folder / "layout"

    @property
    def tuned(self) -> tuple[Chosen, ...]:
        return tuple(one for one in self.wheels if one.passport is not None)


def make_image(
    snapshot: SnapshotContent,
    wheels: tuple[Chosen, ...],
    projects: Sequence[str],
    *,
    target: Target,
    tag: str,
    toolbox: Toolbox,
) -> Image:
    """Make the image of ``wheels``, which ``projects`` needs, unless it is there.

    Each tuned wheel is a layer, and all others together are one: who pulls the next image fetches what changed.

    Raises:
        ToolboxError: the CPython cannot be fetched.
        PublishError: a wheel cannot be installed.
    """
    packages = toolbox.pins.files(f"userland-{tag}")
    pins = [(one.project, one.sha256) for one in wheels]
    key = _digest(
        [IMAGE_VERSION, LAYER_VERSION, snapshot.id, target.name, list(projects), *_base(tag, toolbox), pins]
    )
    said = _annotations(snapshot, wheels, projects, target, tag)
    title = said["org.opencontainers.image.title"]
    requirements = "".join(f"{one.pinned}\n" for one in wheels)
    sbom = make_sbom(title, key, snapshot.created_at, packages, wheels, said)

    def make(folder: Path) -> None:
        layers = [_userland(tag, toolbox)]
        tuned = [one for one in wheels if one.passport is not None]
        others = [one for one in wheels if one.passport is None]
        layers += [_installed((one,), tag, toolbox) for one in tuned]
        layers += [_installed(others, tag, toolbox)] if others else []
        layers.append(_documents(key, {"requirements.txt": requirements, "sbom.cdx.json": sbom}, toolbox))
        folder.mkdir()
        run = {
            "User": f"{USER}:{USER}",
            "Env": list(_ENVIRONMENT),
            "Entrypoint": ["/usr/bin/python3"],
            "WorkingDir": "/home/nonroot",
        }
        write_image(
            folder / "layout",
            layers,
            run,
            said,
            created=snapshot.created_at,
            tag=f"{snapshot.id}-{target}",
        )
        suite = toolbox.toolchains.pythons[tag].suite
        text = containerfile(snapshot.id, target.name, version_of(tag), suite, USER, said)
        (folder / "Containerfile").write_text(text, encoding="utf-8")
        (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
        (folder / "sbom.cdx.json").write_text(sbom, encoding="utf-8")

    folder = create_once(toolbox.home / "out/images" / key, make)
    return Image(folder=folder, manifest=read_image(folder / "layout"), wheels=wheels, annotations=said)


def _annotations(
    snapshot: SnapshotContent, wheels: Sequence[Chosen], projects: Sequence[str], target: Target, tag: str
) -> dict[str, str]:
    """What an image says of itself (image-spec, "Pre-Defined Annotation Keys"), and the sources of tuned wheels."""
    sources = {
        f"armwheels.source.{one.project}": f"sha256:{one.passport['source']['sha256']}"
        for one in wheels
        if one.passport is not None
    }
    return {
        "org.opencontainers.image.title": f"{' '.join(projects)} for {target}",
        "org.opencontainers.image.description": f"CPython {version_of(tag)}, wheels tuned for {target.description}",
        "org.opencontainers.image.version": snapshot.id,
        "org.opencontainers.image.created": snapshot.created_at,
        SNAPSHOT: snapshot.id,
        TARGET: target.name,
        PYTHON: tag,
        "armwheels.wheels": " ".join(f"{one.project}=={one.version}" for one in wheels),
        **sources,
    }


def _userland(tag: str, toolbox: Toolbox) -> Layer:
    key = _digest([LAYER_VERSION, *_base(tag, toolbox)])
    return make_layer(
        _layers(toolbox) / key,
        lambda root: lay_userland(root, tag, toolbox),
        f"CPython {version_of(tag)} and its libraries, from pinned packages of Debian",
    )


def _installed(wheels: Sequence[Chosen], tag: str, toolbox: Toolbox) -> Layer:
    pins = [(one.filename, one.sha256) for one in wheels]

    def install(root: Path) -> None:
        for one in wheels:
            install_wheel(one.path, root, tag)
        write_bytecode(root, tag, toolbox)

    return make_layer(
        _layers(toolbox) / _digest([LAYER_VERSION, *_base(tag, toolbox), pins]),
        install,
        "wheels " + " ".join(f"{one.project}=={one.version}" for one in wheels),
    )


def _documents(key: str, documents: dict[str, str], toolbox: Toolbox) -> Layer:
    def write(root: Path) -> None:
        folder = root / _ABOUT
        folder.mkdir(parents=True)
        for name, text in documents.items():
            (folder / name).write_text(text, encoding="utf-8")

    return make_layer(_layers(toolbox) / _digest([LAYER_VERSION, key]), write, "hashes and SBOM of all above")


def _base(tag: str, toolbox: Toolbox) -> list[str]:
    """What decides the bytes of a layer beside its wheels: the userland, and the Python that compiles bytecode."""
    return [tag, toolbox.pins.digest(f"userland-{tag}"), toolbox.pins.digest(f"python-{tag}")]


def _layers(toolbox: Toolbox) -> Path:
    return toolbox.home / "out/layers"


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()
