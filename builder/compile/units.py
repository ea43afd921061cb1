"""The record of a build's compile units: the wrappers write down each command, and the end of the build reads it.

GCC's own record (``-frecord-gcc-switches``) has neither ``-D`` nor the name of the unit. So each wrapper writes its
command before it calls ccache, whether the cache has the object or not. A record lies in the work folder: the next
run of a killed build, which skips finished units, finds it there.

A command counts if it made an object, or a shared library from sources, that exists inside the folders of the
build when the build has ended. Trial compiles of configure steps delete what they make, or work elsewhere. Two
kinds leave objects behind. CMake's trials lie below ``CMakeFiles``, where only targets have folders ``NAME.dir``.
Meson's lie in ``meson-private``. Programs that one command compiles and links are trials or tools.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath

from builder.model.units import CommandLine, Unit, UnitRecord, is_fortran, read_command_line

RECORD = "units.json"
_COMMANDS = "units"
_DROPPED = "dropped-folders"
_PYTHONS_LIBRARIES = "-L/usr/lib/aarch64-linux-gnu"
_BUILD_FOLDERS = ("src", "build", "bazel")
"""The folders below a work folder in which packages build; objects beside them are the builder's own."""

_START, _RESPONSE_FILE, _END = b"\1", b"\2", b"\3"
_SCRIPT = r"""if [ -n "$unit" ]; then
    {{
        printf '\0\001\0'
        pwd -P
        printf '\0'
        printf '%s\0' "$@" $hot
        for argument; do
            case "$argument" in
                @*) if [ -f "${{argument#@}}" ]; then
                    printf '\002%s\0' "$argument"; cat "${{argument#@}}"; printf '\0'
                fi;;
            esac
        done
        printf '\003\0'
    }} >>{folder}/$$ || exit 1
fi"""


def commands_folder(work: Path) -> Path:
    """The folder in ``work`` with the commands of a build, in one file for each process number."""
    return work / _COMMANDS


def dropped_file(work: Path) -> Path:
    """The file in ``work`` with the search folders of this machine that wrappers dropped, a line each."""
    return work / _DROPPED


def read_dropped(work: Path) -> tuple[str, ...]:
    """Search folders of this machine that the build in ``work`` asked for and did not get, sorted.

    Without that of the target's CPython, which setuptools passes to every link.
    """
    path = dropped_file(work)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return tuple(sorted(set(lines) - {_PYTHONS_LIBRARIES}))


def recording_script(work: Path) -> str:
    """Shell commands that write the call of a wrapper down, if ``$unit`` is set.

    Each process appends to a file of its own, so that parallel compiles do not mix. A process number that comes
    again starts a new record in the same file. The folder is the physical one, since Bazel sets ``PWD`` to
    ``/proc/self/cwd``. A record without an end is of a process that was killed before it
    called the compiler.
    """
    return _SCRIPT.format(folder=shlex.quote(str(commands_folder(work))))


def collect_units(
    optimisation: Callable[[str], tuple[str, bool]], work: Path, tree: Path
) -> tuple[Unit, ...]:
    """The units whose objects exist, sorted; ``tree`` is the source tree, relative to which they are named.

    ``optimisation`` is that of the :class:`~builder.compile.compilers.base.Compiler`. An object that was compiled
    several times counts with its weakest command.
    """
    work, tree = work.resolve(), tree.resolve()
    found: dict[tuple[str, str], Unit] = {}
    for command in _commands(commands_folder(work)):
        line = read_command_line(command.arguments)
        for source, made in _objects(line):
            path = os.path.realpath(command.folder / made)
            if not _is_of_the_build(Path(path), work):
                continue
            name = _named(Path(os.path.realpath(command.folder / source)), tree, work)
            level, defines = optimisation(line.level)
            unit = Unit(
                unit=name,
                level=line.front_end_level or level,
                ndebug=is_fortran(name) or (defines if line.ndebug is None else line.ndebug),
            )
            before = found.get((path, name), unit)
            found[path, name] = min(before, unit, key=lambda each: (each.optimised, each.ndebug))
    return tuple(sorted(found.values(), key=lambda unit: (unit.unit, unit.level, unit.ndebug)))


def write_record(folder: Path, record: UnitRecord) -> None:
    """Write the record into the folder of a compiled wheel or library."""
    (folder / RECORD).write_text(record.model_dump_json(indent=0) + "\n", encoding="utf-8")


def read_record(folder: Path) -> UnitRecord | None:
    """Read what :func:`write_record` wrote; ``None`` for what was compiled before there were records."""
    path = folder / RECORD
    return UnitRecord.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def delete_commands(work: Path) -> None:
    """Delete the commands of a build that has ended."""
    shutil.rmtree(commands_folder(work), ignore_errors=True)
    dropped_file(work).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Command:
    folder: Path
    arguments: tuple[str, ...]


def _commands(folder: Path) -> Iterator[_Command]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        fields: list[bytes] | None = None
        for field in path.read_bytes().split(b"\0"):
            if field == _START:
                fields = []
            elif field == _END and fields:
                yield _command(fields)
                fields = None
            elif fields is not None:
                fields.append(field)


def _command(fields: Sequence[bytes]) -> _Command:
    """A command from its folder, its arguments, and the names and texts of its response files."""
    folder, *rest = [os.fsdecode(field) for field in fields]
    folder = folder.removesuffix("\n")  # of pwd(1)
    first = next((n for n, each in enumerate(rest) if each.startswith(_RESPONSE_FILE.decode())), len(rest))
    texts = {name[1:]: text for name, text in zip(rest[first::2], rest[first + 1 :: 2], strict=False)}
    return _Command(Path(folder), tuple(_expanded(rest[:first], texts, Path(folder))))


def _expanded(arguments: Sequence[str], texts: dict[str, str], folder: Path) -> Iterator[str]:
    """Arguments with the words of response files in their place (GCC manual, "Overall Options", ``@file``).

    A response file that another one names is read as it stands when the build has ended.
    """
    for argument in arguments:
        nested = folder / argument[1:]
        if argument in texts:
            yield from _expanded(words(texts[argument]), {}, folder)
        elif argument.startswith("@") and nested.is_file():
            yield from _expanded(words(nested.read_text(errors="replace")), {}, folder)
        else:
            yield argument


_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)+""", re.DOTALL)
_QUOTED = re.compile(r"""\\(.)|"((?:[^"\\]|\\.)*)"?|'((?:[^'\\]|\\.)*)'?""", re.DOTALL)


def words(text: str) -> list[str]:
    """The arguments in a response file: white space divides them unless quoted, and a backslash quotes anything."""

    def unquoted(found: re.Match[str]) -> str:
        return found[1] or re.sub(r"\\(.)", r"\1", found[2] or found[3] or "", flags=re.DOTALL)

    return [_QUOTED.sub(unquoted, word) for word in _WORD.findall(text)]


def _objects(line: CommandLine) -> Iterator[tuple[str, str]]:
    """Each source of a command and the file that it becomes part of, as the command spells them."""
    if not line.makes_objects or not (line.only_compiles or line.links_library):
        return
    for source in line.sources:
        yield source, line.output or (f"{PurePath(source).stem}.o" if line.only_compiles else "a.out")


def _is_of_the_build(made: Path, work: Path) -> bool:
    if not made.is_relative_to(work) or not made.exists():
        return False
    parts = made.relative_to(work).parts
    tried = any(above == "CMakeFiles" and not name.endswith(".dir") for above, name in pairwise(parts))
    return parts[0] in _BUILD_FOLDERS and not tried and "meson-private" not in parts


def _named(source: Path, tree: Path, work: Path) -> str:
    folder = next((one for one in (tree, work) if source.is_relative_to(one)), None)
    return str(source.relative_to(folder)) if folder else source.name
