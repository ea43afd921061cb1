"""Imports the modules of any wheel on an emulated CPU, and holds the audit's verdict against what happened.

An illegal instruction ends a program without a word. ``illegal.c``, loaded first, says where: the file and the
address, which are compared with the places of the audit.
"""

from __future__ import annotations

import json
import re
import signal
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from builder.audit import AuditReport, Verdict, open_wheel
from builder.audit.verdicts import counted, failed, not_applicable, passed
from builder.emulation.emulate import StandIn, stand_in
from builder.emulation.environment import EmulatedPython
from builder.emulation.install import install_for, python_of
from builder.errors import ConfigError, VerifyError
from builder.model.base import Frozen
from builder.targets import Target
from builder.toolbox.compile_c import compile_shared
from builder.toolbox.toolbox import Toolbox

LIMIT_SECONDS = 900.0
"""How long the imports of a wheel may take under emulation."""

_IMPORTS = Path(__file__).with_name("imports.py")
_ILLEGAL = Path(__file__).with_name("illegal.c")
_REPORTED = re.compile(r"^ILLEGAL 0x([0-9a-f]+) 0x([0-9a-f]+) (.+)$", re.MULTILINE)
# A module's file: a name, then nothing, the stable ABI's mark or CPython's own (PEP 3149).
_EXTENSION = re.compile(r"^(\w+?)(?:\.abi3|\.cpython-[\w-]+)?\.so$")
_STARTS = (b"PyInit_", b"PyModExport_")  # PEP 3121, PEP 793
_SCHEME = re.compile(r"^[^/]+\.data/(?:platlib|purelib)/")
_TOLD = 300


class Death(Frozen):
    """The illegal instruction at which an import ended: the module that was imported, the file and the address."""

    module: str
    file: str
    address: int
    word: int


class Trial(Frozen):
    """What the imports of a wheel did. ``refused`` has the modules that raised an exception, and the exception."""

    python: str
    cpu: str
    note: str
    imported: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    deaths: tuple[Death, ...]


def decided(report: AuditReport, wheel: Path, *, target: Target, toolbox: Toolbox) -> AuditReport:
    """Return the report of an audit with one more verdict, ``run``.

    A wheel that cannot be run here is not judged: for want of a Python that takes it, or of what it requires.

    Raises:
        ToolboxError: a part of the toolbox is missing.
    """
    try:
        verdict = judged(report, try_imports(wheel, target=target, toolbox=toolbox), target)
    except (ConfigError, VerifyError) as error:
        verdict = not_applicable("run", f"not run: {error}")
    return report.model_copy(
        update={
            "verdicts": (*report.verdicts, verdict),
            "passed": report.passed and verdict.outcome != "fail",
        }
    )


def modules_of(names: Sequence[str], compiled: Collection[str]) -> tuple[str, ...]:
    """Return the modules of a wheel to import: those at the top, then each extension module. Pure.

    ``names`` are the members, and ``compiled`` those that define a module. Names that no import statement can have
    are left out.
    """
    top, extensions = set(), set()
    for name in names:
        parts = _SCHEME.sub("", name).split("/")
        if parts[0].endswith((".dist-info", ".data", ".libs")):
            continue
        match = _EXTENSION.match(parts[-1])
        if match and name in compiled:
            extensions.add(".".join([*parts[:-1], match[1]]))
        if parts[-1] == "__init__.py" and len(parts) == 2:
            top.add(parts[0])
        elif len(parts) == 1 and parts[0].endswith(".py"):
            top.add(parts[0].removesuffix(".py"))
    modules = [*sorted(top), *sorted(extensions - top)]
    return tuple(one for one in modules if all(part.isidentifier() for part in one.split(".")))


def try_imports(wheel: Path, *, target: Target, toolbox: Toolbox, python: str | None = None) -> Trial:
    """Install a wheel and what it requires, and import its modules on the stand-in for the target's server.

    The default of ``python`` is the wheel's own tag, else the first known one that takes the wheel. An import that
    ends the process is recorded, and the next process goes on behind it.

    Raises:
        ConfigError: no known Python can install the wheel.
        VerifyError: it or a requirement cannot be installed, the emulator cannot be started, or time ran out.
        ToolboxError: a part of the toolbox is missing.
    """
    tag = python or python_of(wheel, list(toolbox.toolchains.pythons))
    model = stand_in(target)
    emulated = EmulatedPython.standing_in(toolbox, tag, model)
    (toolbox.home / "tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=toolbox.home / "tmp", prefix="trial-") as scratch:
        site = Path(scratch) / "site"
        install_for(toolbox, tag, wheel.resolve(), site)
        watch = Path(scratch) / "illegal.so"
        compile_shared(
            toolbox,
            _ILLEGAL,
            watch,
            target="aarch64-linux-gnu.2.31",
            cache=Path(scratch) / "cache",
            options=["-nostdlib", "-fno-builtin", "-fno-stack-protector", "-Wl,-z,undefs"],
        )
        opened = open_wheel(wheel)
        compiled = {member for member, data in opened.binaries() if any(start in data for start in _STARTS)}
        return _import_all(emulated, model, modules_of(opened.names, compiled), site, watch)


def _import_all(
    emulated: EmulatedPython, model: StandIn, modules: tuple[str, ...], site: Path, watch: Path
) -> Trial:
    imported: list[str] = []
    refused: list[tuple[str, str]] = []
    deaths: list[Death] = []
    left = list(modules)
    while left:
        done = emulated.run(
            [str(_IMPORTS), *left],
            extra={"PYTHONPATH": str(site)},
            preload=(watch,),
            cwd=site,
            timeout=LIMIT_SECONDS,
        )
        begun = None
        for line in done.stdout.splitlines():
            result: dict[str, str] = json.loads(line)
            if "begins" in result:
                begun = result["begins"]
            elif "imported" in result:
                imported.append(result["imported"])
            else:
                refused.append((result["refused"], result["why"][:_TOLD]))
        if begun is None:
            raise VerifyError(f"the emulated Python did not start: {done.stderr.strip()[-500:]}")
        if done.returncode == 0:
            break
        left = left[left.index(begun) + 1 :]
        death = _death(begun, done.stderr, site) if done.returncode == -signal.SIGILL else None
        if death is not None:
            deaths.append(death)
        elif begun not in imported:
            refused.append(
                (begun, f"the process ended with {done.returncode}: {done.stderr.strip()[-_TOLD:]}")
            )
    return Trial(
        python=emulated.tag,
        cpu=model.cpu,
        note=model.described(),
        imported=tuple(imported),
        refused=tuple(refused),
        deaths=tuple(deaths),
    )


def _death(module: str, stderr: str, site: Path) -> Death:
    found = _REPORTED.findall(stderr)
    if not found:
        return Death(module=module, file="?", address=0, word=0)
    word, address, file = found[-1]
    return Death(
        module=module, file=file.removeprefix(f"{site}/"), address=int(address, 16), word=int(word, 16)
    )


def not_run(report: AuditReport, why: str) -> AuditReport:
    """Return the report with the verdict that nothing was run."""
    return report.model_copy(
        update={"verdicts": (*report.verdicts, not_applicable("run", f"not run: {why}"))}
    )


def judged(report: AuditReport, trial: Trial, target: Target) -> Verdict:
    """Return the verdict ``run``: what the imports did, and whether the audit foresaw it. Pure."""
    places: list[dict[str, Any]] = report.verdict("instructions").data.get("places", [])
    foreseen = [one for one in places if one["rank"] == "import"]
    data = trial.model_dump(mode="json")
    told = f"{counted(len(trial.imported), 'module')} imported on {trial.cpu.split(',')[0]}"
    if trial.refused:
        first, why = trial.refused[0]
        told += f", {len(trial.refused)} refused ({first}: {why.splitlines()[0] if why else 'no message'})"
    if trial.deaths:
        ways = {(death.file, death.address): death for death in reversed(trial.deaths)}
        lines = [_told(death, places) for death in reversed(ways.values())]
        return failed("run", "\n".join([f"SIGILL at import; {told}", *lines]), **data)
    if target.emulator is None:
        return not_applicable("run", f"{told}, which has all instructions: it cannot decide", **data)
    if not trial.imported:
        return not_applicable("run", f"nothing was imported: {told}", **data)
    if foreseen:
        first_place = f"{foreseen[0]['member']}: {foreseen[0]['function'] or foreseen[0]['address']}"
        return passed("run", f"{told}; none ran {first_place}, which the audit expected at import", **data)
    return passed("run", f"{told}, as the audit expects", **data)


def _told(death: Death, places: list[dict[str, Any]]) -> str:
    where = f"import {death.module}: 0x{death.word:08x} at 0x{death.address:x} of {death.file}"
    inside = [one for one in places if _same_file(one["member"], death.file)]
    same = next((one for one in inside if one["address"] == f"0x{death.address:x}"), None)
    if same is None:
        before = [one for one in inside if int(one["address"], 16) <= death.address]
        same = max(before, key=lambda one: int(one["address"], 16), default=None)
    if same is None:
        return f"{where}, which the audit did not name"
    name = same["function"] or same["address"]
    return f"{where}, in or after {name} ({same['extension']}), which the audit ranks as {same['rank']}"


def _same_file(member: str, file: str) -> bool:
    return _SCHEME.sub("", member) == file
