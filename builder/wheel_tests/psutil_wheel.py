"""Runs inside the emulated environment: does psutil import, and does its machine code run?

The checks but for the import are also what `armwheels bench` counts: add those that matter to your programs.
"""

import importlib
from importlib.metadata import version

from kit import report


def check_import() -> tuple[bool, str]:
    import psutil

    return psutil.__name__ == "psutil", "psutil " + version("psutil")


# The extension modules of PyPI's wheel, psutil-7.2.2
EXTENSIONS = ("psutil._psutil_linux",)


def check_extensions() -> tuple[bool, str]:
    """Each is imported; one that needs a package which is not a requirement counts as absent."""
    absent: list[str] = []
    wrong: list[str] = []
    for name in EXTENSIONS:
        try:
            file = importlib.import_module(name).__file__ or ""
        except ModuleNotFoundError as error:
            (wrong if name.startswith(str(error.name)) else absent).append(f"{name}: {error}")
            continue
        if not file.endswith(".so"):
            wrong.append(f"{name} is {file}")
    detail = "; ".join([*wrong, *absent]) or f"{len(EXTENSIONS)} extension modules"
    return not wrong and len(absent) < len(EXTENSIONS), detail


if __name__ == "__main__":
    report({"import": check_import, "extensions": check_extensions}, vital="import")
