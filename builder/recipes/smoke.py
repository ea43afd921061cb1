"""Writes the test script of a recipe from what a wheel of the project offers. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from builder.recipes.project import WheelFiles

_EXTENSION = re.compile(r"^(?P<module>[^.]+(/[^.]+)*)(\.[A-Za-z0-9_-]+)?\.so$")
_NUMBERS = '{"numbers": list(range(2000)), "text": "abc" * 500, "nested": [[{"a": [1.25, None, True]}] * 20]}'
_BYTES = 'b"".join(bytes([n % 251, n % 7, 0]) for n in range(20000))'
PAIRS: Mapping[tuple[str, str], str] = {
    ("dumps", "loads"): _NUMBERS,
    ("packb", "unpackb"): _NUMBERS,
    ("safe_dump", "safe_load"): _NUMBERS,
    ("compress", "decompress"): _BYTES,
}
"""Functions that undo each other, with what to call the first with."""


def modules_of(wheel: WheelFiles) -> tuple[str, ...]:
    """The top-level modules that the wheel installs, public ones first."""
    names: dict[str, None] = {}
    for member in wheel.members:
        first, _, rest = member.partition("/")
        if first.endswith((".dist-info", ".data", ".libs", "-stubs")):
            continue
        if rest.endswith("__init__.py") and rest.count("/") == 0:
            names[first] = None
        elif not rest and first.endswith((".py", ".so")):
            names[first.partition(".")[0]] = None
        elif rest.endswith(".so") and rest.count("/") == 0:
            names[first] = None
    return tuple(sorted(names, key=lambda name: (name.startswith("_"), name)))


def main_module(wheel: WheelFiles, project: str) -> str:
    """The module that the project is known by: the one of its own name, else the first public one."""
    modules = modules_of(wheel)
    own = project.replace("-", "_")
    return next((name for name in modules if name.lower() == own), modules[0] if modules else own)


def extensions_of(wheel: WheelFiles) -> tuple[str, ...]:
    """The extension modules of the wheel, by their names for import."""
    found = (_EXTENSION.match(member) for member in wheel.members if ".libs/" not in member)
    names = {match["module"].replace("/", ".") for match in found if match}
    return tuple(sorted(name for name in names if not name.rsplit(".", 1)[-1].startswith("lib")))


def names_of(wheel: WheelFiles, module: str) -> frozenset[str]:
    """The names that the sources or stubs of a module define or import."""
    places = [f"{module}/__init__.py", f"{module}/__init__.pyi", f"{module}.py", f"{module}.pyi"]
    places.append(f"{module}-stubs/__init__.pyi")
    names: set[str] = set()
    for place in places:
        names |= _defined(wheel.texts.get(place, ""))
    return frozenset(names)


def _defined(code: str) -> set[str]:
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node in tree.body:
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_script(project: str, wheel: WheelFiles) -> str:
    """A script for ``kit.report``: the import, each extension module, and functions that undo each other."""
    module = main_module(wheel, project)
    names = names_of(wheel, module)
    pairs = [(pair, data) for pair, data in PAIRS.items() if names.issuperset(pair)]
    checks = [
        "import",
        *(["extensions"] if extensions_of(wheel) else []),
        *(f"{a}_{b}" for (a, b), _ in pairs),
    ]
    parts = [_HEAD.format(project=project), _import_check(project, module)]
    if extensions := extensions_of(wheel):
        parts.append(_extension_check(extensions, "-".join(wheel.filename.split("-")[:2])))
    parts += [_round_trip(module, *pair, data) for pair, data in pairs]
    table = "".join(f'            "{name}": check_{name},\n' for name in checks)
    call = f'    report(\n        {{\n{table}        }},\n        vital="import",\n    )\n'
    parts.append(f'if __name__ == "__main__":\n{call}')
    return "\n\n".join(parts)


_HEAD = '''"""Runs inside the emulated environment: does {project} import, and does its machine code run?

The checks but for the import are also what `armwheels bench` counts: add those that matter to your programs.
"""

import importlib
from importlib.metadata import version

from kit import report
'''


def _import_check(project: str, module: str) -> str:
    return f'''def check_import() -> tuple[bool, str]:
    import {module}

    return {module}.__name__ == "{module}", "{project} " + version("{project}")
'''


def _extension_check(extensions: Iterable[str], origin: str) -> str:
    names = [f'"{name}",' for name in extensions]
    line = f"({' '.join(names)})" if len(names) == 1 else f"({' '.join(names)[:-1]})"
    listed = line if len(line) <= 90 else "(\n" + "".join(f"    {name}\n" for name in names) + ")"
    return f'''# The extension modules of PyPI's wheel, {origin}
EXTENSIONS = {listed}


def check_extensions() -> tuple[bool, str]:
    """Each is imported; one that needs a package which is not a requirement counts as absent."""
    absent: list[str] = []
    wrong: list[str] = []
    for name in EXTENSIONS:
        try:
            file = importlib.import_module(name).__file__ or ""
        except ModuleNotFoundError as error:
            (wrong if name.startswith(str(error.name)) else absent).append(f"{{name}}: {{error}}")
            continue
        if not file.endswith(".so"):
            wrong.append(f"{{name}} is {{file}}")
    detail = "; ".join([*wrong, *absent]) or f"{{len(EXTENSIONS)}} extension modules"
    return not wrong and len(absent) < len(EXTENSIONS), detail
'''


def _round_trip(module: str, there: str, back: str, data: str) -> str:
    return f"""def check_{there}_{back}() -> tuple[bool, str]:
    import {module}

    data = {data}
    stored = {module}.{there}(data)
    return {module}.{back}(stored) == data, f"{{len(stored)}} bytes or characters and back"
"""
