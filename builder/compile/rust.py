"""rustc and cargo for a build: what a Rust package's own build calls, and where its crates come from.

rustc comes from the toolbox and compiles crates for the target's CPU (``-C target-cpu``); the recipe's C compiler
links them. Build scripts and macros run on this machine: zig links these. cargo tells them apart by ``--target``
(The Cargo Book, "Environment Variables").
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

from builder.compile.compilers.base import Commands
from builder.compile.compilers.zig import host_scripts, zig_cache
from builder.errors import CompileError
from builder.model.build import Build
from builder.model.pythons import version_of
from builder.model.toolchains import RustTool
from builder.model.units import Unit
from builder.toolbox.toolbox import Toolbox

RUST_VERSION = 2
"""Raise this by hand when Rust packages are compiled differently. It enters their compile digests."""

TARGET = "aarch64-unknown-linux-gnu"
_HOST = "x86_64-unknown-linux-gnu"
_LEVELS = "0123sz"
_CRATES = "rust-crates"
_PASSED = ("CARGO_REGISTRY_", "CARGO_REGISTRIES_", "CARGO_HTTP_", "CARGO_NET_")
_PROXIES = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)

_RUSTC = r"""#!/bin/sh
# rustc {version} for {cpu}; build scripts and macros are compiled for this machine.
target= crate= level=0 assertions=off last=
for argument; do
    case "$last" in -C) argument=-C$argument;; --target|--crate-name) argument=$last=$argument;; esac
    case "$argument" in
        -Copt-level=*) level=${{argument#*=}};;
        -Cdebug-assertions|-Cdebug-assertions=[yot]*) assertions=on;;
        --target=*) target=${{argument#*=}};;
        --crate-name=*) crate=${{argument#*=}};;
    esac
    last=$argument
done
[ "$target" = {target} ] || exec {rustc} --sysroot {sysroot} "$@"
case "$crate" in ''|___) ;; *) printf '%s %s %s\n' "$crate" "$level" "$assertions" >>{crates} || exit 1;; esac
exec {rustc} --sysroot {sysroot} "$@" -C target-cpu={cpu} -C link-arg={records}/$level.o \
    --remap-path-prefix {home}=. --remap-path-prefix {work}=.
"""


def target_cpu(flags: tuple[str, ...]) -> str:
    """The name that LLVM, and so rustc, has for the CPU of ``-mcpu``; zig spells it with underscores."""
    return flags[0].removeprefix("-mcpu=").replace("_", "-")


def rust_of(toolbox: Toolbox) -> RustTool:
    """The table ``[rust]`` of ``toolchains.toml``.

    Raises:
        CompileError: there is none.
    """
    if toolbox.toolchains.rust is None:
        raise CompileError("toolchains.toml has no table [rust]")
    return toolbox.toolchains.rust


def write_rust(
    build: Build, commands: Commands, toolbox: Toolbox, work: Path, environment: Mapping[str, str]
) -> None:
    """Write ``rustc`` beside the compiler's scripts, and all that it and cargo call.

    Raises:
        CompileError: the record of the flags cannot be assembled.
    """
    rust = rust_of(toolbox)
    part, library = toolbox.ensure(rust.part), toolbox.ensure(rust.library)
    folder, host = work / "rust", work / "rust/host"
    shutil.rmtree(folder, ignore_errors=True)
    host.mkdir(parents=True)
    _crates(work).unlink(missing_ok=True)
    for triple, root in ((_HOST, part), (TARGET, library)):
        link = folder / "sysroot/lib/rustlib" / triple
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(root / "usr/lib/rustlib" / triple)
    for name, text in host_scripts(toolbox.zig(), zig_cache(toolbox.home)).items():
        _write_program(host / name, text)
    for level in _LEVELS:
        _assemble_record(
            f"rustc {rust.version} {' '.join(build.flags)} -O{level}", folder, level, commands, environment
        )
    _write_program(
        work / "bin/rustc",
        _RUSTC.format(
            version=rust.version,
            cpu=shlex.quote(target_cpu(build.flags)),
            target=TARGET,
            rustc=shlex.quote(str(part / "usr/bin/rustc")),
            sysroot=shlex.quote(str(folder / "sysroot")),
            crates=shlex.quote(str(_crates(work))),
            records=shlex.quote(str(folder)),
            home=shlex.quote(str(toolbox.home)),
            work=shlex.quote(str(work)),
        ),
    )


def rust_variables(
    build: Build, commands: Commands, toolbox: Toolbox, work: Path, python: Path
) -> dict[str, str]:
    """The variables of a build with Rust; none for any other.

    The registry's settings are the user's own; packages with vendored crates get none and stay offline.
    """
    settings = build.recipe.build.rust
    if settings is None:
        return {}
    if settings.crates == "registry":
        kept = (*_PASSED, *_PROXIES)
        source = {name: value for name, value in os.environ.items() if name.startswith(kept)}
        source["CARGO_HOME"] = str(cargo_home())
    else:
        source = {"CARGO_HOME": str(work / "cargo"), "CARGO_NET_OFFLINE": "true"}
    spelled, host = TARGET.replace("-", "_").upper(), _HOST.replace("-", "_").upper()
    return {
        **source,
        "RUSTC": str(work / "bin/rustc"),
        "RUSTC_WRAPPER": "",
        "CARGO_BUILD_TARGET": TARGET,
        f"CARGO_TARGET_{spelled}_LINKER": str(commands.cc),
        f"CARGO_TARGET_{host}_LINKER": str(work / "rust/host/gcc"),
        "CARGO_TARGET_DIR": str(work / "build/rust"),
        # The audit names what it finds by the symbol table.
        "CARGO_PROFILE_RELEASE_STRIP": "none",
        "HOST_CC": str(work / "rust/host/zigcc"),
        "HOST_CXX": str(work / "rust/host/zigcxx"),
        "HOST_AR": str(work / "rust/host/ar"),
        "PYO3_PYTHON": str(python),
        "PYO3_CROSS_LIB_DIR": str(toolbox.python_headers(build.python) / "sysconfigdata"),
        "PYO3_CROSS_PYTHON_VERSION": version_of(build.python),
    }


def rust_programs(build: Build, toolbox: Toolbox) -> tuple[str, ...]:
    """The folder with cargo, for the ``PATH`` of a build with Rust."""
    return (str(toolbox.ensure(rust_of(toolbox).part) / "usr/bin"),) if build.recipe.build.rust else ()


def read_crates(work: Path) -> tuple[Unit, ...]:
    """The crates that were compiled for the target in ``work``, as units; each counts with its weakest level."""
    path = _crates(work)
    found: dict[str, Unit] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        name, level, assertions = line.split()
        unit = Unit(unit=f"crate {name}", level=f"-O{level}", ndebug=assertions == "off")
        before = found.get(name, unit)
        found[name] = min(before, unit, key=lambda each: (each.optimised, each.ndebug))
    return tuple(found[name] for name in sorted(found))


def check_crates(tree: Path, crates: str, whose: str) -> None:
    """Check that a source tree brings the crates that its lock files name, unless a registry gives them.

    Raises:
        CompileError: it does not.
    """
    if crates != "vendored" or _vendored(tree):
        return
    for lock in lock_files(tree):
        if 'source = "registry+' in lock.read_text(encoding="utf-8"):
            raise CompileError(
                f"{whose} has no vendored crates, which its {lock.relative_to(tree)} names; with "
                '`crates = "registry"` cargo fetches them from the registry that its own configuration names'
            )


def lock_files(tree: Path) -> tuple[Path, ...]:
    """The lock files of the crates that a source tree builds: each beside the manifest, or above it in the tree.

    ``pyproject.toml`` names manifests that are not at the top (setuptools-rust's documentation, "Usage with
    pyproject.toml"; Maturin User Guide, "Configuration").
    """
    path = tree / "pyproject.toml"
    try:
        tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}) if path.is_file() else {}
    except tomllib.TOMLDecodeError:
        tools = {}
    rust = tools.get("setuptools-rust", {})
    named = [one.get("path", "Cargo.toml") for one in (*rust.get("ext-modules", ()), *rust.get("bins", ()))]
    named.append(tools.get("maturin", {}).get("manifest-path", "Cargo.toml"))
    found: dict[Path, None] = {}
    for manifest in named:
        folders = (tree / manifest).parents
        inside = [folder for folder in folders if folder == tree or tree in folder.parents]
        lock = next((folder / "Cargo.lock" for folder in inside if (folder / "Cargo.lock").is_file()), None)
        if lock is not None:
            found[lock] = None
    return tuple(found)


def _vendored(tree: Path) -> bool:
    """Whether cargo's configuration in the tree replaces a source by a folder of the tree."""
    path = tree / ".cargo/config.toml"
    if not path.is_file():
        return False
    sources = tomllib.loads(path.read_text(encoding="utf-8")).get("source", {})
    return any((tree / one["directory"]).is_dir() for one in sources.values() if "directory" in one)


def cargo_home() -> Path:
    """The folder of cargo's configuration and caches of this user (The Cargo Book, "Cargo Home")."""
    return Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")


def named_registry() -> str | None:
    """The variable or file by which the user's own configuration of cargo names a registry, or ``None``."""
    if variable := next((name for name in sorted(os.environ) if name.startswith(_PASSED[:2])), None):
        return variable
    for name in ("config.toml", "config"):
        path = cargo_home() / name
        if path.is_file():
            try:
                data = tomllib.loads(path.read_text(encoding="utf-8"))
            except tomllib.TOMLDecodeError:
                continue
            if data.keys() & {"source", "registry", "registries"}:
                return str(path)
    return None


def _assemble_record(
    line: str, folder: Path, level: str, commands: Commands, environment: Mapping[str, str]
) -> None:
    """Make an object with the section in which other compilers record their flags, which the audit reads.

    Its byte of data is retained (SHF_GNU_RETAIN): with ``--gc-sections``, which rustc passes, GNU ld drops all of a
    file that has no section to be loaded.
    """
    source = folder / f"{level}.s"
    kept = '\t.section .rodata.armwheels,"aR",%progbits\n\t.byte 0\n'
    record = f'\t.section .GCC.command.line,"MS",%progbits,1\n\t.asciz "{line}"\n'
    source.write_text(kept + record, encoding="utf-8")
    command = [str(commands.cc), "-c", str(source), "-o", str(source.with_suffix(".o"))]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"{source.name} could not be assembled: {done.stderr.strip()}")


def _crates(work: Path) -> Path:
    return work / _CRATES


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
