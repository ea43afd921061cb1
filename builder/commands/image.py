"""The command ``armwheels image``."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from builder.commands.project import Project
from builder.commands.terminal import out
from builder.errors import ConfigError, PublishError
from builder.images.make import Image, make_image
from builder.images.registry import Reference, Registry
from builder.images.trial import try_image
from builder.images.wheels import choose_wheels
from builder.index.client import Index, SnapshotContent
from builder.index.local import open_index
from builder.model.pythons import built_for, release_of
from builder.plan import no_python
from builder.settings import registry_login
from builder.targets import Target


def image(
    projects: Annotated[
        list[str],
        typer.Argument(metavar="PROJECT…", help="Projects to install, such as numpy or 'torch==2.6.0'."),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="T",
            help="CPU target; repeatable. Default: all that have a tuned wheel of the first project.",
        ),
    ] = None,
    channel: Annotated[
        str, typer.Option("--channel", help="Channel whose present snapshot to take the wheels from.")
    ] = "nightly",
    snapshot: Annotated[
        str | None,
        typer.Option(
            "--snapshot", metavar="SNAPSHOT", help="Snapshot to take instead; no tag of a channel moves."
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            "--python",
            metavar="TAG",
            help="Python tag. Default: the newest with a wheel of the first project.",
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="REGISTRY/NAME", help="Repository of a registry to push to."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder to copy each image to, below its tag."),
    ] = None,
    tried: Annotated[
        bool, typer.Option("--try/--no-try", help="Whether to run the recipes' tests in each image first.")
    ] = True,
) -> None:
    """Make an OCI image for each target: a slim Python with the wheels of a snapshot, installed by their hashes.

    An image has its SBOM inside and the digests of all sources as annotations. The same snapshot gives the same
    digest. Beside it are a Containerfile to edit and the requirements with hashes.

    The recipes' tests run in the image under emulation; if one fails, nothing is pushed. A push gives the tags
    SNAPSHOT-TARGET, and CHANNEL-TARGET, which moves with the channel.

    Exit code 1: a test failed.

    Example: armwheels image numpy --target neoverse-v1 --channel stable --push registry.example/numpy
    """
    project = Project()
    name = _project(projects)
    if python is not None and python not in project.toolbox.toolchains.pythons:
        raise ConfigError(no_python(python, project.toolbox.toolchains.pythons))
    at = Reference(push) if push else None
    if at is not None and at.reference:
        raise ConfigError(f"'{push}' has a tag; the tags are SNAPSHOT-TARGET and CHANNEL-TARGET")
    with open_index(project.toolbox.home, write=False) as index:
        content = _content(index, channel, snapshot)
        found = [file for file in content.files if canonicalize_name(file.project) == name]
        tuned = dict.fromkeys(file.target for file in found if file.target)
        targets = [project.targets[one] for one in target or tuned]
        tag = python or _newest_python([file.filename for file in found], project)
        if not tuned or tag is None:
            raise PublishError(f"snapshot {content.id} has no tuned wheel of {name}")
        for one in targets:
            made = _make(index, content, projects, one, tag, project)
            if tried:
                _try(made, one, project)
            tags = (f"{content.id}-{one}", *(() if snapshot else (f"{channel}-{one}",)))
            if to is not None:
                shutil.copytree(made.folder, to / tags[0], dirs_exist_ok=True)
            if at is not None:
                _push(made, at, tags)


def _make(
    index: Index, content: SnapshotContent, projects: list[str], target: Target, tag: str, project: Project
) -> Image:
    project.live.say(f"{target}: choosing wheels of {content.id}")
    wheels = choose_wheels(index, content, target, tag, projects, project.toolbox)
    made = make_image(content, wheels, projects, target=target, tag=tag, toolbox=project.toolbox)
    names = ", ".join(f"{one.project} {one.version}" for one in wheels)
    _print(f"{target}: {tag}, {names}")
    _print(f"{made.manifest.digest}  {made.folder}")
    return made


def _try(made: Image, target: Target, project: Project) -> None:
    if faults := try_image(made, target, project.recipes, project.toolbox, project.live.say):
        for fault in faults:
            _print(f"failed: {fault}")
        raise typer.Exit(1)
    _print(f"the recipes' tests pass in the image on an emulated {target}")


def _push(made: Image, at: Reference, tags: tuple[str, ...]) -> None:
    with Registry(at, registry_login()) as registry:
        sent = registry.push(made.layout, made.manifest, tags)
    _print(f"pushed {sent / 1e6:.1f} MB to {at}: {', '.join(tags)}")


def _content(index: Index, channel: str, snapshot: str | None) -> SnapshotContent:
    if snapshot is None:
        snapshot = index.channel(channel).snapshot
    if snapshot is None:
        raise PublishError(f"{channel} shows no snapshot yet")
    return index.snapshot(snapshot)


def _project(projects: list[str]) -> str:
    """The normalized name of the first project.

    Raises:
        ConfigError: a requirement cannot be read.
    """
    try:
        names = [canonicalize_name(Requirement(one).name) for one in projects]
    except InvalidRequirement as error:
        raise ConfigError(f"{error}; write names, such as numpy or 'numpy==2.4.6'") from error
    return names[0]


def _newest_python(filenames: list[str], project: Project) -> str | None:
    tags = []
    for name in filenames:
        with suppress(InvalidWheelFilename):  # a wheel variant
            tags.append(parse_wheel_filename(name)[3])
    known = sorted(project.toolbox.toolchains.pythons, key=release_of, reverse=True)
    return next((one for one in known if any(built_for(one, each) for each in tags)), None)


def _print(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)
