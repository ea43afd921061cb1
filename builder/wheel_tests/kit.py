"""Runs the checks of a test script and reports each as one JSON line on standard output.

It runs in the emulated environment, beside the script that imports it, and needs nothing but Python.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

Result = tuple[bool, str]
"""Whether a check passed, and what it saw."""


def report(checks: Mapping[str, Callable[[], Result]], *, vital: str = "") -> NoReturn:
    """Run the checks in order and exit: 1 if one failed, else 0. An exception is a failure.

    If the check ``vital`` fails, such as the import of the package, the checks after it are not run.
    """
    failed = False
    for name, check in checks.items():
        start = time.monotonic()
        try:
            passed, detail = check()
        except Exception as error:
            passed, detail = False, f"{type(error).__name__}: {str(error)[:300]}"
        failed |= not passed
        line = {"check": name, "passed": bool(passed), "detail": detail, "seconds": time.monotonic() - start}
        print(json.dumps(line), flush=True)
        if name == vital and not passed:
            break
    sys.exit(failed)
