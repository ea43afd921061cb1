"""Routes of channels, their moves and approvals, and of yanks and quarantines."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from packaging.utils import canonicalize_name
from pydantic import Field, StringConstraints

from index_server.api.bodies import JsonRoute
from index_server.api.parts import (
    PROJECT,
    Asked,
    Message,
    Nonce,
    TheCatalog,
    ThePolicy,
    ThePublisher,
    TheRepository,
    as_json,
    as_stored,
)
from index_server.catalog import promotion
from index_server.catalog.catalog import Catalog
from index_server.errors import MalformedError, NotFoundError
from index_server.model import Mark, Move
from index_server.names import parse_name

router = APIRouter(route_class=JsonRoute)


class MoveAsked(Asked):
    """``POST /api/channels/{name}/moves``. ``approvals`` names people who must have approved."""

    snapshot: str
    expected_serial: Annotated[int, Field(ge=0)]
    nonce: Nonce
    approvals: tuple[str, ...] = ()
    message: Message = ""


class ApprovalAsked(Asked):
    """``POST /api/approvals``."""

    channel: str
    snapshot: str
    message: Message = ""


class MarkAsked(Asked):
    """``POST /api/status``: a yank (PEP 592), a quarantine (PEP 792), or undoing one.

    ``filename`` marks one file, ``project`` a whole project. A whole project cannot be yanked.
    """

    kind: Mark
    filename: str | None = None
    project: Annotated[str, StringConstraints(pattern=PROJECT)] | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
    nonce: Nonce


@router.get("/api/channels")
def channels(catalog: TheCatalog) -> Response:
    """All channels, each with its last move."""
    return as_json({"channels": [_channel(catalog, name) for name in catalog.channels]})


@router.get("/api/channels/{name}")
def channel(name: str, catalog: TheCatalog) -> Response:
    """A channel with its last move; serial 0 and no snapshot before the first move."""
    return as_json(_channel(catalog, name))


@router.get("/api/channels/{name}/moves")
def moves(name: str, catalog: TheCatalog) -> Response:
    """The journal of a channel, the oldest entry first."""
    return as_json({"moves": [move.model_dump(mode="json") for move in catalog.moves(name)]})


@router.post("/api/channels/{name}/moves")
def move(
    name: str,
    asked: MoveAsked,
    catalog: TheCatalog,
    policy: ThePolicy,
    publisher: ThePublisher,
    repository: TheRepository,
) -> Response:
    """Point a channel at a snapshot: 201, 200 if it does so already, or 422 with the reasons of its gates."""
    catalog.require_channel(name)
    publisher.demand("move", name)
    entry, moved = catalog.move(
        name,
        snapshot_id=asked.snapshot,
        expected_serial=asked.expected_serial,
        nonce=asked.nonce,
        by=publisher.name,
        message=asked.message,
        judge=lambda: promotion.judge(
            catalog,
            policy.gates.get(name),
            name,
            asked.snapshot,
            by=publisher.name,
            token=publisher.id,
            counted_on=asked.approvals,
        ),
    )
    repository.refresh_quietly()
    return as_stored(entry, 201 if moved else 200)


@router.post("/api/approvals")
def approve(asked: ApprovalAsked, catalog: TheCatalog, publisher: ThePublisher) -> Response:
    """Approve a snapshot for a channel. Needs the scope to move the channel."""
    catalog.require_channel(asked.channel)
    publisher.demand("move", asked.channel)
    approval = catalog.approve(
        asked.channel, asked.snapshot, by=publisher.name, token=publisher.id, message=asked.message
    )
    return as_stored(approval, 201)


@router.get("/api/approvals/{channel_name}/{snapshot}")
def approvals(channel_name: str, snapshot: str, catalog: TheCatalog) -> Response:
    """The approvals of a snapshot for a channel."""
    catalog.require_channel(channel_name)
    found = catalog.approvals(channel_name, catalog.find_snapshot(snapshot).id)
    return as_json({"approvals": [approval.model_dump(mode="json") for approval in found]})


@router.post("/api/status")
def mark(
    asked: MarkAsked, catalog: TheCatalog, publisher: ThePublisher, repository: TheRepository
) -> Response:
    """Yank, quarantine or undo: 201, or 200 if nothing changes."""
    publisher.demand("yank")
    project, filename = _subject(asked)
    entry, written = catalog.status.mark(
        asked.kind,
        project=project,
        filename=filename,
        reason=asked.reason,
        by=publisher.name,
        nonce=asked.nonce,
    )
    repository.refresh_quietly()
    return as_stored(entry, 201 if written else 200)


@router.get("/api/status")
def status(catalog: TheCatalog) -> Response:
    """The current yanks and quarantines, and their journal with the oldest entry first."""
    marks = catalog.status.marks()
    projects = {
        name: {
            "status": "active" if each.project is None else "quarantined",
            "reason": each.project,
            "yanked": dict(each.yanked),
            "quarantined": dict(each.quarantined),
        }
        for name, each in sorted(marks.projects.items())
    }
    entries = [entry.model_dump(mode="json") for entry in marks.entries]
    return as_json({"serial": marks.serial, "projects": projects, "entries": entries})


def _subject(asked: MarkAsked) -> tuple[str, str | None]:
    if (asked.filename is None) == (asked.project is None):
        raise MalformedError("name either a filename or a project")
    if asked.filename is None:
        if asked.kind in ("yank", "unyank"):
            raise MalformedError("files are yanked one by one (PEP 592); name a filename")
        return canonicalize_name(asked.project or ""), None
    try:
        return parse_name(asked.filename).project, asked.filename
    except ValueError as error:
        raise NotFoundError(str(error)) from error


def _channel(catalog: Catalog, name: str) -> dict[str, object]:
    head: Move | None = catalog.head(name)
    rule = catalog.development.get(name)
    return {
        "name": name,
        "description": catalog.channels[name],
        "serial": head.serial if head else 0,
        "snapshot": head.snapshot if head else None,
        "at": head.at if head else None,
        "by": head.by if head else None,
        "development": rule.model_dump() if rule else None,
    }
