"""Imports modules one after the other. Run as a script by the emulated Python, it prints what each did as JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys


def main(modules: list[str]) -> None:
    """Import each module, and write its result as a line of JSON to the file descriptor that stdout was.

    What the modules print goes to stderr, so that nothing mixes with the results.
    """
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**result: str) -> None:
        print(json.dumps(result), file=results, flush=True)

    for module in modules:
        say(begins=module)
        try:
            importlib.import_module(module)
        except BaseException as error:  # also SystemExit: a module may call sys.exit
            say(refused=module, why=f"{type(error).__name__}: {error}")
        else:
            say(imported=module)


if __name__ == "__main__":
    main(sys.argv[1:])
