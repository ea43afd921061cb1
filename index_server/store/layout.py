"""The keys that the index writes. Other files in a store, such as a README or an editor's backup, are ignored."""

from __future__ import annotations

import re

_SHA256 = "[0-9a-f]{64}"
_NAME = "[a-z0-9]+(?:-[a-z0-9]+)*"  # of a project, a channel, a kind of evidence
_WHEEL = r"[A-Za-z0-9][A-Za-z0-9_.!+-]*\.whl"
_SNAPSHOT = "[0-9]{8}-[1-9][0-9]*"
_SESSION = "[A-Za-z0-9_-]{22,64}"
_NIGHT = "[0-9]{8}-[0-9]{6}-[0-9a-f]{8}"
_BUILD = "[A-Za-z0-9][A-Za-z0-9_.!+-]{0,199}"
_LAYOUT = {
    "approvals": rf"{_NAME}/{_SNAPSHOT}/[A-Za-z0-9_-]+\.json",
    "attestations": rf"{_SHA256}\.json",
    "builds": rf"{_SHA256}(/{_NAME})?\.json",
    "cache": r"[0-9a-z]{2}/[0-9a-z]{20,128}",
    "channels": rf"_?{_NAME}\.json",
    "evidence": rf"{_SHA256}/{_NAME}/[1-9][0-9]*\.json",
    "files": rf"{_SHA256}/(again-[1-9][0-9]*/)?{_WHEEL}(\.metadata)?",
    "intents": rf"{_SNAPSHOT}/[0-9a-f]{{24}}\.json",
    "journal": rf"_?{_NAME}/[1-9][0-9]*\.json",
    "judgements": rf"{_SHA256}\.json",
    "logs": rf"{_BUILD}/{_NIGHT}/[0-9]{{13}}-[1-9][0-9]{{0,3}}-[a-z]{{1,20}}-[0-9]{{5}}\.txt",
    "marked": rf"{_NAME}\.[1-9][0-9]*",
    "nights": rf"{_NIGHT}\.json",
    "probe": "[0-9a-f]{24}",
    "records": rf"{_NAME}/{_WHEEL}\.json",
    "revocations": rf"{_SHA256}\.json",
    "sessions": rf"{_SESSION}/(files/{_WHEEL}\.json|requests/{_SHA256}\.json|fate\.json)",
    "shards": rf"{_SHA256}\.json",
    "snapshots": rf"{_SNAPSHOT}\.json",
    "tokens": rf"{_SHA256}\.json",
    "tuf": rf"({_NAME}/[1-9][0-9]*|policies/{_SHA256})\.json",
    "verdicts": rf"{_NAME}/{_SHA256}\.{_NAME}\.[1-9][0-9]*\.(passed|failed)",
}
_KEY = re.compile("|".join([r"store\.json", *(f"{top}/(?:{rest})" for top, rest in _LAYOUT.items())]))


def is_object(key: str) -> bool:
    """Whether the index writes objects under such a key."""
    return _KEY.fullmatch(key) is not None
