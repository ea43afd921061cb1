"""Runs inside the emulated environment: does ujson import, and does its machine code run?

The checks but for the import are also what `armwheels bench` counts: add those that matter to your programs.
"""

import importlib
from importlib.metadata import version

from kit import report


def check_import() -> tuple[bool, str]:
    import ujson

    return ujson.__name__ == "ujson", "ujson " + version("ujson")


# The extension modules of PyPI's wheel, ujson-6.1.0
EXTENSIONS = ("ujson",)


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


def check_dumps_loads() -> tuple[bool, str]:
    import ujson

    data = {"numbers": list(range(2000)), "text": "abc" * 500, "nested": [[{"a": [1.25, None, True]}] * 20]}
    stored = ujson.dumps(data)
    return ujson.loads(stored) == data, f"{len(stored)} bytes or characters and back"


if __name__ == "__main__":
    report(
        {"import": check_import, "extensions": check_extensions, "dumps_loads": check_dumps_loads},
        vital="import",
    )
