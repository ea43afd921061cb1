"""Compile units of a wheel: how each was optimised, and whether its assertions are off. Frozen data, and pure.

The rules are those of GCC's manual ("Options That Control Optimization", "Preprocessor Options", "Overall
Options") and of clang's command line argument reference: the last ``-O`` wins, and so does the last ``-D`` or
``-U`` of a macro.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from builder.model.base import Frozen

_WITH_VALUE = re.compile(
    r"-([oxDUIABLTluze]|M[FTQ]|include|imacros|isystem|idirafter|iquote|iprefix|iwithprefix|iwithprefixbefore"
    r"|isysroot|imultilib|X(linker|assembler|preprocessor|clang)|mllvm|target|aux-info|wrapper|dump(base|dir)"
    r"|-param|-sysroot|-define-macro|-undefine-macro|-include|-output)"
)
"""Options whose value may be the next argument."""

_SOURCE = re.compile(r".\.(c|cc|cp|cpp|cxx|CPP|c\+\+|C|m|mm|i|ii)$")
_FORTRAN = re.compile(r".\.([fF]|[fF]\d\d|for|FOR|ftn|FTN|fpp|FPP)$")
_ASSEMBLY = re.compile(r".\.(s|S|sx)$")
_LEVEL = re.compile(r"-O(|\d+|s|z|g|fast)")
_HIGHEST = 3
_NO_OBJECT = frozenset(("-E", "-S", "-M", "-MM", "-fsyntax-only", "-###"))


class Unit(Frozen):
    """One compiled unit.

    ``unit`` is the path of its source, relative to the package's source tree or the build's work folder. A unit of
    a library that the recipe builds has the library's name in front: ``acl:src/core/Size2D.cpp``. ``level`` is its
    last ``-O``, as the compiler takes it, and empty without one. ``ndebug`` is whether the command line defines
    ``NDEBUG``, so that ``assert`` does nothing (ISO C, 7.2); true for Fortran, which has no ``assert``.
    """

    unit: str
    level: str
    ndebug: bool

    @property
    def optimised(self) -> bool:
        return is_optimised(self.level)


class UnitRecord(Frozen):
    """The units of one raw wheel. ``gaps`` says why units may be absent; it is empty if all are here.

    ``dropped`` are search folders of the building machine that the package asked for, as ``-I/usr/include``: the
    compiler did not get them, since they hold headers and libraries of another CPU.
    """

    units: tuple[Unit, ...]
    gaps: str = ""
    dropped: tuple[str, ...] = ()


def is_optimised(level: str) -> bool:
    """Whether a level optimises: GCC and clang do not optimise without ``-O``, which is the same as ``-O0``."""
    return level not in ("", "-O0")


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """What a command line says of the units that it compiles.

    ``front_end_level`` is the ``-O`` that clang's driver passes on unread (``-Xclang -O3``), which wins. ``ndebug``
    is ``None`` if the command line neither defines nor undefines it. ``output`` is empty without ``-o``.
    """

    sources: tuple[str, ...]
    output: str
    level: str
    front_end_level: str
    ndebug: bool | None
    only_compiles: bool
    links_library: bool
    makes_objects: bool


def level_of(arguments: Sequence[str]) -> str:
    """The last ``-O`` of a command line; empty without one."""
    return read_command_line(arguments).level


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Read the arguments of ``gcc``, ``clang`` or ``zig cc``, with the text of response files already in place.

    Units in assembly language are not among ``sources``, since no level changes them.
    """
    sources: list[str] = []
    output = level = front_end_level = language = ""
    ndebug: bool | None = None
    flags: set[str] = set()
    for option, value in _options(arguments):
        match option:
            case "-o":
                output = value
            case "-x":
                language = value
            case "-D":
                ndebug = True if re.match(r"NDEBUG(=|$)", value) else ndebug
            case "-U":
                ndebug = False if value == "NDEBUG" else ndebug
            case "-O":
                level = value
            case "-Xclang":
                front_end_level = _level(value) or front_end_level
            case "":
                if _is_source(value, language):
                    sources.append(value)
            case _:
                flags.add(option)
    return CommandLine(
        sources=tuple(sources),
        output=output,
        level=level,
        front_end_level=front_end_level,
        ndebug=ndebug,
        only_compiles="-c" in flags,
        links_library="-shared" in flags,
        makes_objects=not flags & _NO_OBJECT,
    )


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield options with their values, in one spelling; an operand has the option ``""``."""
    rest = iter(arguments)
    for argument in rest:
        if _WITH_VALUE.fullmatch(argument):
            value = next(rest, "")
            if argument == "-Xpreprocessor":
                yield from _options([value])
            else:
                yield _SHORT.get(argument, argument), value
        elif argument.startswith("-Wp,"):
            yield from _options(argument.split(",")[1:])
        elif argument.startswith(("--define-macro=", "--undefine-macro=", "--output=")):
            option, _, value = argument.partition("=")
            yield _SHORT[option], value
        elif level := _level(argument):
            yield "-O", level
        elif argument[:2] in ("-D", "-U", "-x", "-o") and len(argument) > len("-D"):
            yield argument[:2], argument[2:]
        elif argument.startswith("-") and argument != "-":
            yield argument, ""
        else:
            yield "", argument


_SHORT = {"--define-macro": "-D", "--undefine-macro": "-U", "--output": "-o"}


def _level(argument: str) -> str:
    """A level in one spelling, in which any number above 3 is 3. Empty if the argument is another option."""
    if re.match(r"--optimize(=|$)", argument):
        argument = "-O" + argument.partition("=")[2]
    found = _LEVEL.fullmatch(argument)
    if found is None:
        return ""
    if found[1].isdigit():
        return f"-O{min(int(found[1]), _HIGHEST)}"
    return found[0]


def _is_source(operand: str, language: str) -> bool:
    """Whether an operand is a unit that ``-O`` changes. ``-x`` overrides what the file's name says."""
    if language and language != "none":
        return not language.startswith("assembler")
    return (_SOURCE.search(operand) is not None and _ASSEMBLY.search(operand) is None) or is_fortran(operand)


def is_fortran(unit: str) -> bool:
    """Whether the unit is Fortran, by its name (GNU Fortran manual, "Invoking GNU Fortran")."""
    return _FORTRAN.search(unit) is not None
