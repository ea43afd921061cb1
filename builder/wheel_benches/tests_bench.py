"""The checks of a wheel's test script as workloads, for a project that has no bench script.

    tests_bench.py TEST_SCRIPT list | count CALLS NAME... | time SECONDS NAME...

The script is loaded with a ``kit`` that takes its checks and runs none of them. A check that fails is no workload.
"""

import runpy
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from kit import IMPORT, Run, Workload, main

Check = Callable[[], tuple[bool, str]]


def checks_of(script: str) -> dict[str, Check]:
    """Load a test script and return its checks by name."""
    found: dict[str, Check] = {}
    stand_in = ModuleType("kit")

    def report(checks: Mapping[str, Check], *, vital: str = "") -> None:  # noqa: ARG001 - as the scripts call it
        found.update(checks)

    stand_in.__dict__.update(report=report, Result=tuple)
    own = sys.modules["kit"]
    sys.modules["kit"] = stand_in
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.modules["kit"] = own
    found.pop(IMPORT, None)  # which the kit measures itself
    return found


def workload(name: str, check: Check) -> Workload:
    """Make a workload of a check."""

    def run() -> None:
        passed, detail = check()
        if not passed:
            raise AssertionError(detail)

    def prepare() -> Run:
        run()
        return run

    return Workload(name, f"the check {name} of the wheel's tests", prepare)


def first_module(script: str) -> str:
    """The module that a test script is named after: ``msgpack`` for ``msgpack_wheel.py``."""
    return script.rsplit("/", 1)[-1].removesuffix("_wheel.py")


if __name__ == "__main__":
    script = sys.argv.pop(1)
    main(first_module(script), tuple(workload(name, check) for name, check in checks_of(script).items()))
