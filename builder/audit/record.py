"""Checks ``RECORD``: that it lists every file of the wheel, with its hash and size."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from builder.audit.archive import WheelFile
from builder.audit.verdicts import Verdict, counted, failed, passed

_SHOWN = 3
# Files that RECORD need not list, or list without a hash (binary distribution format, ".dist-info").
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")


def check_record(wheel: WheelFile) -> Verdict:
    """Check that ``RECORD`` lists every file with its hash and size, as an installer does.

    The binary distribution format asks for sha256 or better; installers refuse a file whose hash differs.
    """
    check = "record"
    unhashed = {f"{wheel.dist_info}/{name}" for name in _UNHASHED}
    absent, wrong, seen = [], [], set()
    for name, parts in wheel.members():
        seen.add(name)
        if name in unhashed:
            continue
        row = wheel.records.get(name)
        if row is None:
            absent.append(name)
        elif fault := _fault(parts, *row):
            wrong.append(f"{name}: {fault}")
    gone = sorted(set(wheel.records) - seen - unhashed)
    faults = []
    if absent:
        faults.append(f"RECORD does not list {counted(len(absent), 'file')}: {_some(absent)}")
    if gone:
        faults.append(
            f"RECORD lists {counted(len(gone), 'file')} that the wheel does not have: {_some(gone)}"
        )
    faults += wrong[:_SHOWN]
    if len(wrong) > _SHOWN:
        faults.append(f"and {len(wrong) - _SHOWN:,} more")
    details = {"unlisted": absent, "missing": gone, "wrong": wrong}
    if faults:
        return failed(check, "\n".join(faults), **details)
    return passed(check, f"lists {counted(len(seen), 'file')} with hash and size", **details)


def _fault(parts: Iterable[bytes], written: str, size: str) -> str | None:
    algorithm, _, value = written.partition("=")
    if not value:
        return "RECORD has no hash of it"
    if algorithm not in hashlib.algorithms_guaranteed or algorithm in {"md5", "sha1"}:
        return f"RECORD has a hash of the kind {algorithm}"
    hashed, length = hashlib.new(algorithm), 0
    for part in parts:
        hashed.update(part)
        length += len(part)
    digest = base64.urlsafe_b64encode(hashed.digest()).rstrip(b"=").decode()
    if digest != value:
        return f"its {algorithm} differs from RECORD's"
    if size and size != str(length):
        return f"has {length:,} bytes, and RECORD says {size}"
    return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
