"""Runs inside the emulated environment: does zstandard import, and does its machine code run?

The checks but for the import are also what `armwheels bench` counts: add those that matter to your programs.
"""

import importlib
from importlib.metadata import version

from kit import report


def check_import() -> tuple[bool, str]:
    import zstandard

    return zstandard.__name__ == "zstandard", "zstandard " + version("zstandard")


# The extension modules of PyPI's wheel, zstandard-0.25.0
EXTENSIONS = ("zstandard._cffi", "zstandard.backend_c")


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


def check_compress_decompress() -> tuple[bool, str]:
    import zstandard

    data = b"".join(bytes([n % 251, n % 7, 0]) for n in range(20000))
    stored = zstandard.compress(data)
    return zstandard.decompress(stored) == data, f"{len(stored)} bytes or characters and back"


if __name__ == "__main__":
    report(
        {
            "import": check_import,
            "extensions": check_extensions,
            "compress_decompress": check_compress_decompress,
        },
        vital="import",
    )
