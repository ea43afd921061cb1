"""The commands that move channels and mark files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from builder import settings
from builder.commands.terminal import out
from builder.errors import PublishError
from builder.index.client import ChannelState, Index, MoveEntry
from builder.index.local import open_index

SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="Id of the snapshot, such as 20261123-1.")
]
ToOption = Annotated[str, typer.Option("--to", metavar="CHANNEL", help="Channel to move.")]
MessageOption = Annotated[str, typer.Option("--message", "-m", help="Reason, kept in the journal.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="Reason, kept in the journal and shown on the pages.")
]
UndoOption = Annotated[bool, typer.Option("--undo", help="Undo it.")]


def snapshot(
    channel: Annotated[
        str, typer.Option("--to", metavar="CHANNEL", help="Channel to extend, and to move.")
    ] = "nightly",
    session: Annotated[
        str | None,
        typer.Option("--session", metavar="SESSION", help="Session to publish. Default: the token's own."),
    ] = None,
    move: Annotated[
        bool, typer.Option("--move/--no-move", help="Whether to move the channel to the new snapshot.")
    ] = True,
    message: MessageOption = "armwheels snapshot",
) -> None:
    """Publish what was uploaded with twine or uv: make a snapshot of it and move a channel to it.

    Uploads without a session wait in the token's own session, and no page shows them yet. Use the same
    ARMWHEELS_TOKEN as the upload.

    Example: ARMWHEELS_INDEX=https://wheels.example ARMWHEELS_TOKEN=awt_... armwheels snapshot
    """
    with open_index(settings.home_dir()) as index:
        state = index.channel(channel)
        made = index.make_snapshot(session, state)
        if not made.created:
            out.print(f"{made.id} holds all these files already", highlight=False)
        else:
            out.print(f"made {made.id}, files in it: {made.files}", highlight=False)
        for name in made.dropped:
            out.print(
                f"dropped by the rule for development versions: {name}", highlight=False, soft_wrap=True
            )
        if move:
            _move(index, state, made.id, message)
        else:
            out.print(f"next: armwheels promote {made.id} --to {channel}", highlight=False)


def promote(
    snapshot: SnapshotArgument,
    to: ToOption,
    approve_as: Annotated[
        list[str] | None,
        typer.Option(
            "--approve-as",
            metavar="TOKEN",
            envvar="ARMWHEELS_APPROVE_AS",
            help="Token of another person who approves; repeatable.",
        ),
    ] = None,
    message: MessageOption = "armwheels promote",
) -> None:
    """Move a channel to a snapshot. If its gates refuse, print everything that is missing.

    No file is copied. The index is ARMWHEELS_INDEX with ARMWHEELS_TOKEN, else the local store.

    Example: armwheels promote 20261123-1 --to stable
    """
    with open_index(settings.home_dir()) as index:
        state = index.channel(to)
        for token in approve_as or []:
            with index.with_token(token) as other:
                other.approve(to, snapshot, message)
        _move(index, state, snapshot, message)


def approve(snapshot: SnapshotArgument, to: ToOption, message: MessageOption = "armwheels approve") -> None:
    """Approve a snapshot for a channel whose gates require approvals, without moving the channel.

    Example: ARMWHEELS_TOKEN=awt_... armwheels approve 20261123-1 --to stable
    """
    with open_index(settings.home_dir()) as index:
        name = index.approve(to, snapshot, message)
    out.print(f"{snapshot} is approved for {to} by {name}", highlight=False)


def rollback(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Channel to move back.")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="SNAPSHOT",
            help="Snapshot it has shown. Default: the one before.",
        ),
    ] = None,
    message: MessageOption = "armwheels rollback",
) -> None:
    """Move a channel back to a snapshot that it has shown. A second rollback goes one further back.

    A rollback is a move like any other, with an entry in the journal.

    Example: armwheels rollback stable --to 20261120-1
    """
    with open_index(settings.home_dir()) as index:
        state = index.channel(channel)
        _move(index, state, back_from(channel, index.moves(channel), to), message)


def history(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Channel to show.")],
    last: Annotated[int, typer.Option("--last", min=1, help="Number of moves to show, newest first.")] = 20,
) -> None:
    """Show the moves of a channel: snapshot, time, author and approvals.

    Example: armwheels history stable --last 5
    """
    with open_index(settings.home_dir(), write=False) as index:
        moves = index.moves(channel)
    out.print(history_table(channel, moves, last), highlight=False)


def yank(
    filename: Annotated[str, typer.Argument(metavar="FILENAME", help="File name on the index.")],
    reason: ReasonOption,
    undo: UndoOption = False,
) -> None:
    """Yank a file in every channel and snapshot: installers ignore it unless it is pinned (PEP 592).

    Example: armwheels yank demo-1.0+generic-1_0a1b2c3d-cp313-cp313-manylinux_2_28_aarch64.whl --reason "wrong sums"
    """
    _mark("unyank" if undo else "yank", {"filename": filename}, reason)


def quarantine(
    subject: Annotated[
        str, typer.Argument(metavar="FILENAME-or-PROJECT", help="One file, or a project with all its files.")
    ],
    reason: ReasonOption,
    undo: UndoOption = False,
) -> None:
    """Hide a file or a project (PEP 792) from all pages; its files are not served, and gates refuse them.

    Example: armwheels quarantine demo --reason "its maintainer's key was stolen"
    """
    key = "filename" if subject.endswith(".whl") else "project"
    _mark("release" if undo else "quarantine", {key: subject}, reason)


def back_from(channel: str, moves: Sequence[MoveEntry], to: str | None) -> str:
    """The snapshot that a rollback leads to: ``to`` if given, else the one before the present one.

    "Before" is by first appearance, so that a second rollback does not lead forward again.

    Raises:
        PublishError: the channel has never shown such a snapshot.
    """
    shown = list(dict.fromkeys(move.snapshot for move in moves))
    if to is not None:
        if to not in shown:
            raise PublishError(
                f"{channel} has never shown {to}; `armwheels promote {to} --to {channel}` asks its gates"
            )
        return to
    place = shown.index(moves[-1].snapshot) if moves else 0
    if place == 0:
        raise PublishError(
            f"{channel} has shown nothing before; name a snapshot that it may go to with promote"
        )
    return shown[place - 1]


def history_table(channel: str, moves: Sequence[MoveEntry], last: int) -> RenderableType:
    """The newest moves, the newest first."""
    if not moves:
        return Text(f"{channel} has not moved yet")
    table = Table(title=channel, title_justify="left", box=None, pad_edge=False)
    for heading in ("serial", "moved (UTC)", "snapshot", "by", "approved by", "message"):
        table.add_column(heading, justify="right" if heading == "serial" else "left", overflow="fold")
    for move in reversed(moves[-last:]):
        now = move is moves[-1]
        table.add_row(
            str(move.serial),
            move.at[:16].replace("T", " "),
            Text(move.snapshot, style="bold green" if now else ""),
            Text(move.by),
            Text(", ".join(move.approvals) or "-"),
            Text(move.message, style="dim"),
        )
    earlier = len(moves) - last
    return Group(table, Text(f"and {earlier} earlier", style="dim")) if earlier > 0 else table


def _move(index: Index, state: ChannelState, snapshot: str, message: str) -> None:
    serial = index.move(state.name, snapshot, state.serial, message)
    before = f" from {state.snapshot}" if state.snapshot else ""
    result = (
        f"{state.name} is at {snapshot} already"
        if serial == state.serial
        else f"{state.name} moved{before} to {snapshot} (serial {serial})"
    )
    out.print(result, highlight=False)


def _mark(kind: str, subject: dict[str, str], reason: str) -> None:
    with open_index(settings.home_dir(), scopes=("yank",)) as index:
        serial = index.mark(kind, subject, reason)
    [name] = subject.values()
    done = {
        "yank": "is yanked",
        "unyank": "is no longer yanked",
        "quarantine": "is under quarantine",
        "release": "is released from quarantine",
    }
    out.print(f"{name} {done[kind]} (entry {serial})", highlight=False, soft_wrap=True)
