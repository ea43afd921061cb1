"""The program ``armwheels-verify``."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from armwheels_verify.errors import RefusedError, UsageError
from armwheels_verify.judge import Judge, Judgement
from armwheels_verify.ledger import Ledger
from armwheels_verify.sources import Saved, Saving, Source, Web
from armwheels_verify.wanted import Wanted, read_wanted

REFUSED, USAGE = 1, 2
KINDS = ("provenance", "audit", "emulation", "bench")
_EPILOG = """\
Exit code 0: everything holds. 1: something is refused; the reason is printed. 2: the command line is wrong.

examples:
  armwheels-verify --index https://wheels.example --root root.json requirements.txt
  armwheels-verify --index https://wheels.example --root root.json --save saved uv.lock
  armwheels-verify --saved saved --root root.json dist/
"""


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Judge what the arguments name, print it, and return the exit code."""
    asked = parser().parse_args(arguments)
    try:
        judgements = judge(asked)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except RefusedError as error:
        if asked.json:
            print(json.dumps({"holds": False, "reason": str(error), "files": []}))
        else:
            print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    holds = all(judgement.holds for judgement in judgements)
    if asked.json:
        files = [{**dataclasses.asdict(each), "holds": each.holds} for each in judgements]
        print(json.dumps({"holds": holds, "files": files}, indent=1))
    else:
        print_table(judgements)
    return 0 if holds else REFUSED


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="armwheels-verify",
        description="Say which signed statements hold for wheels of an Armwheels index.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "what",
        nargs="*",
        type=Path,
        metavar="WHAT",
        help="requirements.txt with hashes, uv.lock, pylock.toml, a wheel or a folder of wheels; without it, all "
        "files that the channels show",
    )
    made.add_argument("--index", metavar="URL", help="address of the index")
    made.add_argument(
        "--root",
        type=Path,
        metavar="FILE",
        required=True,
        help="root document that you trust, such as 1.root.json",
    )
    made.add_argument(
        "--save", type=Path, metavar="FOLDER", help="save what the index answers, for use offline"
    )
    made.add_argument("--saved", type=Path, metavar="FOLDER", help="use a saved folder; needs no network")
    made.add_argument(
        "--as-of",
        type=datetime.fromisoformat,
        metavar="DATE",
        help="accept metadata that was valid at this time (UTC)",
    )
    made.add_argument(
        "--channel", action="append", default=[], help="channel to look in; default: all; repeatable"
    )
    made.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="KIND",
        help="statement that each file needs; repeatable",
    )
    made.add_argument(
        "--ignore-others",
        action="store_true",
        help="pass over files that a lock file takes from another index",
    )
    made.add_argument(
        "--state", type=Path, metavar="FOLDER", help="what was seen before (default: in ~/.local/state)"
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("--version", action="version", version=f"armwheels-verify {_version()}")
    return made


def judge(asked: argparse.Namespace) -> list[Judgement]:
    """Judge what was asked for.

    Raises:
        UsageError: the command line or a file that it names is wrong.
        RefusedError: what the index signed does not hold, so that nothing about files can.
    """
    if (asked.index is None) == (asked.saved is None):
        raise UsageError("name either --index URL or --saved FOLDER")
    try:
        root = asked.root.read_bytes()
    except OSError as error:
        raise UsageError(f"{asked.root} cannot be read: {error}") from error
    wanted = [each for path in asked.what for each in read_wanted(path)]
    source: Source = Web(asked.index) if asked.index else Saved(asked.saved)
    if asked.save:
        source = Saving(source, asked.save)
    as_of = asked.as_of.replace(tzinfo=asked.as_of.tzinfo or UTC) if asked.as_of else None
    state = asked.state or _state_folder(root)
    ledger = Ledger(source, root, state, whole=bool(asked.save or asked.saved), as_of=as_of)
    unknown = [name for name in asked.channel if name not in ledger.policy.channels]
    if unknown:
        raise UsageError(f"there is no channel {unknown[0]}; there is {', '.join(ledger.policy.channels)}")
    by = Judge(ledger, source, asked.channel, asked.require)
    if asked.what:
        if asked.ignore_others and asked.index:
            wanted = [each for each in wanted if _mine(each, asked.index)]
        return [by.judge(each) for each in wanted]
    channels = asked.channel or ledger.policy.channels
    shown = {found.sha256: (project, found) for name in channels for project, found in ledger.all(name)}
    return [by.of_record(project, found) for project, found in shown.values()]


def print_table(judgements: Sequence[Judgement]) -> None:
    """One line for each file, and the reasons below it."""
    width = max((len(each.filename or each.project) for each in judgements), default=0)
    for each in judgements:
        held = {statement.kind for statement in each.statements}
        marks = "  ".join(kind if kind in held else "-" * len(kind) for kind in KINDS)
        where = f"{each.found.channel} {each.found.snapshot}" if each.found else "not recorded"
        word = "holds  " if each.holds else "REFUSED"
        print(f"{word}  {each.filename or each.project:{width}}  {marks}  {where}")
        for line in (*each.reasons, *each.notes):
            print(f"         {line}")
    refused = sum(not each.holds for each in judgements)
    print(f"{len(judgements)} files, {refused} refused")


def _mine(wanted: Wanted, index: str) -> bool:
    return not wanted.index or wanted.index.startswith(index.rstrip("/"))


def _state_folder(root: bytes) -> Path:
    """One folder for each pinned root, whatever address the index or its mirror has."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "armwheels-verify" / hashlib.sha256(root).hexdigest()[:16]


def _version() -> str:
    for name in ("armwheels-verify", "armwheels"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"
