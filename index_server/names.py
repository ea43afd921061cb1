"""Parses wheel file names (PEP 427 and 825) and refuses those that the index does not accept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from index_server.reasons import did_you_mean

MAX_NAME = 200  # characters of a file name; the store adds a suffix and file systems end at 255
MAX_VERSION = 200  # characters; Python converts no number of more than 4,300 digits
MAX_TAGS = (
    1000  # that one compressed set (PEP 425) may stand for; the longest of published wheels has under 100
)
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.!+-]*\.whl\Z")
_LABEL = re.compile(r"[0-9a-z_.]{1,16}\Z")  # PEP 825, "Variant label"
_PARTS = 5  # of a file name without build tag and without label


@dataclass(frozen=True)
class WheelName:
    """The parts of a wheel's file name (PEP 427)."""

    filename: str
    project: str  # normalised
    version: Version
    build_number: int  # of the build tag; 0 without one
    build_tag: str
    python_tag: str
    abi_tag: str
    platform_tag: str
    tags: frozenset[Tag]
    label: str = ""  # of a wheel variant (PEP 825); "" for every other wheel


def parse_name(filename: str) -> WheelName:
    """Parse the file name of a wheel.

    Raises:
        ValueError: the name is not valid; the message says why.
    """
    if filename.endswith((".tar.gz", ".zip", ".tar.bz2")):
        raise ValueError(f"{filename!a}: only wheels are accepted, no source distributions")
    if len(filename) > MAX_NAME or not _FILENAME.match(filename):
        raise ValueError(f"{filename[:MAX_NAME]!a}: not a valid wheel file name")
    plain, label = split_label(filename)
    if label and not _LABEL.match(label):
        raise ValueError(f"{filename!a}: {label!a} is no variant label (PEP 825)")
    try:
        project, version, build, tags = parse_wheel_filename(plain)
    except InvalidWheelFilename as error:
        raise ValueError(str(error)) from error
    if len(tags) > MAX_TAGS:
        raise ValueError(f"{filename!a}: its name stands for {len(tags)} tags; {MAX_TAGS} are allowed")
    python_tag, abi_tag, platform_tag = plain.removesuffix(".whl").rsplit("-", 3)[1:]
    number, rest = build or (0, "")
    return WheelName(
        filename=filename,
        project=project,
        version=version,
        build_number=number,
        build_tag=f"{number}{rest}" if build else "",
        python_tag=python_tag,
        abi_tag=abi_tag,
        platform_tag=platform_tag,
        tags=tags,
        label=label,
    )


def split_label(filename: str) -> tuple[str, str]:
    """The file name without its variant label (PEP 825), and the label; ``""`` where it has none.

    A third part that begins with a digit is a build tag (PEP 427), since no Python tag does.
    """
    stem = filename.removesuffix(".whl")
    parts = stem.split("-")
    built = len(parts) > _PARTS and parts[2][:1].isdigit()
    if len(parts) != _PARTS + built + 1 or not parts[-1]:
        return filename, ""
    return f"{'-'.join(parts[:-1])}.whl", parts[-1]


def parse_version(text: str) -> Version:
    """Read a version (PEP 440).

    Raises:
        InvalidVersion: it is none, or longer than :data:`MAX_VERSION`.
    """
    if len(text) > MAX_VERSION:
        raise InvalidVersion(f"a version of {len(text)} characters; {MAX_VERSION} are allowed")
    return Version(text)


def no_channel(name: str, channels: Iterable[str]) -> str:
    """Why a channel is not found, with the nearest name and all others."""
    known = list(channels)
    return f"there is no channel {name}{did_you_mean(name, known) or ';'} the channels are {', '.join(known)}"


def person(name: str) -> str:
    """What all spellings of a person's name have in common: neither case, width, spaces nor invisible characters.

    Names are compared as Unicode says for identifiers (UAX 31, NFKC and case folding).
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    visible = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    return " ".join(visible.split())
