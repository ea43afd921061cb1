"""Installs a wheel in a new aarch64 environment and runs it, on its own CPU and then on a lesser one.

The report also says what the emulator could not show: a missing model, features that the model lacks, or a lesser
CPU that ran the wheel without an error.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from builder.emulation.emulate import StandIn, lesser_stand_in, stand_in
from builder.emulation.environment import EmulatedPython, Shown, install_requirements, write_bytecode
from builder.emulation.native import NativePython, own_cpu
from builder.errors import VerifyError
from builder.folders import script, scripts
from builder.locks import requirements_lock
from builder.model.base import Frozen
from builder.model.recipe import Recipe
from builder.settings import WHEEL_TESTS
from builder.source import prepare
from builder.targets import Target, Targets
from builder.toolbox.toolbox import Toolbox
from builder.whole import sha256_of

VERIFY_VERSION = 2
"""Raise this by hand to run all wheels again. It enters no digest of a wheel."""
Outcome = Literal["pass", "fail", "recorded"]
Progress = Callable[[str], None]


class Check(Frozen):
    """The result of one test; ``seconds`` is wall time under emulation and no measure of a real CPU."""

    name: str
    outcome: Outcome
    detail: str
    seconds: float


class Lesser(Frozen):
    """The result on a lesser CPU: an illegal instruction, another error (``refused``), or no error (``ran``)."""

    target: str
    cpu: str
    outcome: Literal["illegal-instruction", "refused", "ran", "no-model"]
    detail: str


class VerifyReport(Frozen):
    """The results of a wheel under emulation.

    ``server`` of ``servers.toml`` is the one that programs saw, unless the wheel ran on this machine itself.
    ``server_lacks`` has its features that the emulator could not show.
    """

    filename: str
    sha256: str
    target: str
    server: str
    server_lacks: tuple[str, ...]
    emulator: str
    cpu: str
    cpu_note: str
    checks: tuple[Check, ...]
    lesser: Lesser
    passed: bool


def verify(
    wheel: Path,
    *,
    recipe: Recipe,
    version: str,
    python: str,
    target: Target,
    targets: Targets,
    toolbox: Toolbox,
    progress: Progress,
) -> VerifyReport:
    """Install and run ``wheel``; ``version`` is the recipe's.

    It runs on this machine if that has what the target's wheels may use, else under emulation; on the lesser CPU it
    always runs under emulation.

    Raises:
        VerifyError: the emulated environment could not be made. A failed check is no error but in the report.
        SourceError: the source with the tests' data cannot be fetched.
    """
    model = stand_in(target)
    own = own_cpu(target, targets)
    emulated = (
        NativePython(toolbox, python, own) if own else EmulatedPython.standing_in(toolbox, python, model)
    )
    lacks = () if own else what_it_lacks(model, emulated.shown())
    limit = recipe.verify.timeout_minutes * 60.0
    (toolbox.home / "tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=toolbox.home / "tmp", prefix="verify-") as scratch:
        progress(f"{target}: installing ({emulated.cpu})")
        environment = emulated.create_environment(Path(scratch) / "env")
        checks = [_install(emulated, environment, wheel, limit)]
        if checks[0].outcome == "pass":
            write_bytecode(toolbox, python, *environment.glob("lib/python3*/site-packages"))
            beside = requirements_beside(recipe, python, toolbox)
            lay_out_data(recipe, version, toolbox, Path(scratch) / "data")
            progress(f"{target}: running {recipe.verify.script} ({emulated.cpu})")
            checks += _script(emulated, environment, recipe.verify.script, Path(scratch), limit, beside)
            if recipe.verify.pytest:
                progress(f"{target}: running part of {recipe.name}'s own suite ({emulated.cpu})")
                checks.append(_own_suite(emulated, environment, recipe, Path(scratch), limit, beside))
            progress(f"{target}: trying a lesser CPU")
            lesser = _lesser(emulated, environment, recipe, target, targets, Path(scratch), limit, beside)
        else:
            lesser = Lesser(
                target="none", cpu="none", outcome="no-model", detail="the wheel could not be installed"
            )
    return VerifyReport(
        filename=wheel.name,
        sha256=sha256_of(wheel),
        target=target.name,
        server="this machine" if own else model.server.name,
        server_lacks=lacks,
        emulator="no emulator" if own else _emulator_version(toolbox),
        cpu=emulated.cpu,
        cpu_note=f"ran on {own}" if own else model.described(lacks),
        checks=tuple(checks),
        lesser=lesser,
        passed=all(check.outcome != "fail" for check in checks),
    )


def verify_component(
    folder: Path, script: str, *, python: str, target: Target, toolbox: Toolbox, limit_minutes: int
) -> tuple[Check, ...]:
    """Run a component's script under emulation, in the folder that holds its libraries.

    Raises:
        VerifyError: the emulated Python cannot be started, or did not end in time.
    """
    emulated = EmulatedPython.standing_in(toolbox, python, stand_in(target))
    return tuple(_script(emulated, None, script, folder, limit_minutes * 60.0, {}))


def run_script(emulated: EmulatedPython, recipe: Recipe, version: str) -> tuple[Check, ...]:
    """Run a recipe's script by a Python that has the wheel already; ``version`` is the recipe's.

    Raises:
        VerifyError: the Python cannot be started, or did not end in time.
        SourceError: the source with the tests' data cannot be fetched.
    """
    toolbox = emulated.toolbox
    (toolbox.home / "tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=toolbox.home / "tmp", prefix="verify-") as scratch:
        beside = requirements_beside(recipe, emulated.tag, toolbox)
        lay_out_data(recipe, version, toolbox, Path(scratch) / "data")
        limit = recipe.verify.timeout_minutes * 60.0
        return tuple(_script(emulated, None, recipe.verify.script, Path(scratch), limit, beside))


def what_it_lacks(expected: StandIn, shown: Shown) -> tuple[str, ...]:
    """The features of the server that the emulator cannot show, sorted.

    Raises:
        VerifyError: a program would see something else than the server.
    """
    server = expected.server
    wrong = []
    if shown.auxv != shown.getauxval:
        wrong.append(f"/proc/self/auxv has {shown.auxv}, getauxval {shown.getauxval}")
    if extra := sorted(shown.flags - server.flags):
        wrong.append(f"features {' '.join(extra)}, which it has not")
    if shown.cpuinfo != server.cpuinfo(shown.cpuinfo.count("processor\t:")):
        wrong.append("another /proc/cpuinfo")
    if shown.midr != (server.midr,):
        wrong.append(f"part numbers {', '.join(map(hex, shown.midr))}")
    if shown.vector_bits != expected.vector_bits:
        wrong.append(f"vectors of {shown.vector_bits} bits")
    if wrong:
        raise VerifyError(f"the stand-in for {server.name} shows {'; '.join(wrong)}")
    return tuple(sorted(server.flags - shown.flags))


def _emulator_version(toolbox: Toolbox) -> str:
    [package] = toolbox.pins.files("qemu")
    return f"{package.name} {package.version}"


def _install(emulated: EmulatedPython, environment: Path, wheel: Path, limit: float) -> Check:
    """Install the wheel by pip under the arm64 Python, without an index."""
    start = time.monotonic()
    done = emulated.run(
        [
            *("-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--no-index", "--no-deps", str(wheel)),
        ],
        environment=environment,
        timeout=limit,
    )
    detail = "installed by pip" if done.returncode == 0 else _last_words(done.stdout + done.stderr)
    return _check("pip install", done.returncode == 0, detail, start)


def requirements_beside(recipe: Recipe, python: str, toolbox: Toolbox) -> dict[str, str]:
    """Variables that add the requirements of the recipe's tests to the wheel's environment.

    Raises:
        VerifyError: they are not pinned, cannot be installed, or are for another framework than the recipe extends.
    """
    if not recipe.test_requires:
        return {}
    lock = requirements_lock(recipe.name, "tests", python)
    again = f"run `armwheels lock --recipe {recipe.name} --python {python}`"
    if not lock.is_file():
        raise VerifyError(f"recipe {recipe.name} has no pinned test requirements for {python}; {again}")
    framework = recipe.extends.on(python) if recipe.extends else None
    if framework and framework.sha256 not in lock.read_text(encoding="utf-8"):
        raise VerifyError(f"{lock.name} does not pin {framework.filename}, which the recipe extends; {again}")
    folder = install_requirements(toolbox, lock, python)
    return {"PYTHONPATH": str(folder)}


def lay_out_data(recipe: Recipe, version: str, toolbox: Toolbox, folder: Path) -> None:
    """Copy the files of the pinned source that the recipe's tests read.

    Raises:
        VerifyError: the source lacks such a file, or the recipe has no such version.
    """
    if not recipe.verify.data:
        return
    if version not in recipe.versions:
        raise VerifyError(
            f"recipe {recipe.name} has no version {version}, whose source holds the tests' data"
        )
    tree = prepare(recipe.project, recipe.versions[version], toolbox.home)
    if missing := [name for name in recipe.verify.data if not (tree / name).is_file()]:
        raise VerifyError(f"the source of {recipe.name} {version} has no {', '.join(missing)}")
    folder.mkdir()
    for name in recipe.verify.data:
        shutil.copyfile(tree / name, folder / Path(name).name)


def _script(
    emulated: EmulatedPython,
    environment: Path | None,
    name: str,
    scratch: Path,
    limit: float,
    beside: dict[str, str],
) -> list[Check]:
    """Run a script of ``wheel_tests``, which prints one JSON line for each check."""
    start = time.monotonic()
    if not scripts(name):
        raise VerifyError(f"the recipe names the test {name}, which is not in {WHEEL_TESTS.name}/")
    stem = Path(name).stem
    done = emulated.run(
        _test_command(name), environment=environment, extra=beside, cwd=scratch, timeout=limit
    )
    checks = []
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            result = json.loads(line)
            outcome: Outcome = "pass" if result["passed"] else "fail"
            seconds = round(result["seconds"], 1)
            checks.append(
                Check(name=result["check"], outcome=outcome, detail=result["detail"], seconds=seconds)
            )
    if done.returncode and all(check.outcome == "pass" for check in checks):
        checks.append(_check(stem, False, _how_it_ended(done.returncode, done.stderr), start))
    if not checks:
        checks.append(_check(stem, False, "the script reported nothing", start))
    return checks


def _test_command(name: str) -> list[str]:
    """The arguments of Python that run a test script; one beside its recipe is given the kit."""
    path = script(name)
    return [str(path)] if path.parent == WHEEL_TESTS else [str(WHEEL_TESTS / "run_with_kit.py"), str(path)]


def _own_suite(
    emulated: EmulatedPython,
    environment: Path,
    recipe: Recipe,
    scratch: Path,
    limit: float,
    beside: dict[str, str],
) -> Check:
    """Run the part of the package's own test suite that the recipe names."""
    start = time.monotonic()
    [site] = environment.glob("lib/python3*/site-packages")
    select = recipe.verify.pytest_select
    # Without rewritten assertions, Python imports the tests' bytecode and compiles nothing under emulation.
    done = emulated.run(
        [
            *("-m", "pytest", "-q", "--no-header", "--assert=plain", "-p", "no:cacheprovider"),
            *("--rootdir", str(site), "-c", "/dev/null"),
            *(("-k", select) if select else ()),
            *(str(site / part) for part in recipe.verify.pytest),
        ],
        environment=environment,
        extra=beside,
        cwd=scratch,
        timeout=limit,
    )
    lines = done.stdout.strip().splitlines()
    summary = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "")
    ran = done.returncode == 0 and " passed" in summary
    return _check(
        f"{recipe.name}'s own tests",
        ran,
        summary.strip("= ") or _how_it_ended(done.returncode, done.stderr),
        start,
    )


def _lesser(
    emulated: EmulatedPython,
    environment: Path,
    recipe: Recipe,
    target: Target,
    targets: Targets,
    scratch: Path,
    limit: float,
    beside: dict[str, str],
) -> Lesser:
    """Run the same script on a lesser CPU, where it should fail."""
    found = lesser_stand_in(target, targets)
    if found is None:
        return Lesser(
            target="none",
            cpu="none",
            outcome="no-model",
            detail="no target below this one has its own model",
        )
    other, model = found
    lesser = EmulatedPython.standing_in(emulated.toolbox, emulated.tag, model)
    done = lesser.run(
        _test_command(recipe.verify.script),
        environment=environment,
        extra=beside,
        cwd=scratch,
        timeout=limit,
    )
    if done.returncode == 0:
        outcome: Literal["illegal-instruction", "refused", "ran"] = "ran"
        detail = f"these tests need no instruction that {other.name} lacks"
    elif _is_illegal_instruction(done.returncode, done.stderr):
        outcome, detail = "illegal-instruction", f"ended by {signal.SIGILL.name} on {model.cpu}, as it should"
    else:
        outcome, detail = "refused", _last_words(done.stdout + done.stderr)
    return Lesser(target=other.name, cpu=model.cpu, outcome=outcome, detail=detail)


def _is_illegal_instruction(code: int, stderr: str) -> bool:
    return code in (-signal.SIGILL, 128 + signal.SIGILL) or "target signal 4" in stderr


def _how_it_ended(code: int, stderr: str) -> str:
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with {code}: {_last_words(stderr)}"


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def _check(name: str, passed: bool, detail: str, start: float) -> Check:
    return Check(
        name=name,
        outcome="pass" if passed else "fail",
        detail=detail,
        seconds=round(time.monotonic() - start, 1),
    )


__all__ = ["Check", "Lesser", "VerifyReport", "verify"]
