"""Run a command of Armwheels on a simulated arm64 host: every program is one for arm64, under qemu-user.

    .venv/bin/python -m scripts.arm_host armwheels doctor --matrix small
    .venv/bin/python -m scripts.arm_host armwheels build msgpack-1.2.4-cp313-neoverse-v1 --matrix small

The root is Debian for arm64 from the toolbox, with Armwheels' locked dependencies for arm64. The kernel starts the
emulator for each program by an entry of binfmt_misc in a user namespace of its own (Linux 6.7 or later): nothing of
this machine changes, and no privilege is needed. The state folder of the host is ``arm-host`` in that of this one.
What the host fetches by apt is fetched here before.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

from builder.compile.root import ENTER
from builder.settings import ROOT
from builder.toolbox.fetch import pip_indexes, pip_settings, uv_environment
from builder.toolbox.pins import pins_on
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once, sha256_of

TAG = "cp313"
"""The Python of the simulated host."""
PARTS = ("gnu-14", "sysroot-bullseye", "sysroot-licences", "ccache", "llvm", "zig", "qemu", "pip")
"""Parts of the toolbox that a small build needs, besides those of its Python."""
PYTHONS = ("cp311", TAG)
"""The Pythons for which the host can build."""
SITE = "lib/python3.13/site-packages"

# binfmt_misc (Linux, admin-guide/binfmt-misc.rst): ELF of AArch64; F opens the emulator now, outside of the root.
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_CLI = "import sys; from builder.cli import main; sys.argv[0] = 'armwheels'; sys.exit(main())"
_BEGIN = """
set -e
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' "$1" >/proc/sys/fs/binfmt_misc/register
shift
exec /bin/sh "$@"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cpu", default="neoverse-v1", help="the emulator's model of the host's CPU")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="armwheels, python or another program")
    asked = parser.parse_args()
    return run(asked.command, Toolbox(lambda text: print(text, file=sys.stderr)), cpu=asked.cpu)


def run(
    command: list[str],
    toolbox: Toolbox,
    *,
    cpu: str = "neoverse-v1",
    home: Path | None = None,
    **variables: str,
) -> int:
    """Run a command on the host, with further environment variables; returns its exit code."""
    home = home or toolbox.home / "arm-host"
    return subprocess.run(
        command_line(command, toolbox, home), env=environment(cpu, home, **variables), check=False
    ).returncode


def command_line(command: list[str], toolbox: Toolbox, home: Path, *seen: Path) -> list[str]:
    """The command that enters the host and runs ``command`` there, where further folders are ``seen``."""
    if platform.machine() != "x86_64":
        raise SystemExit("this machine is an arm64 host already, or the emulator does not run on it")
    prepare(toolbox, home)
    python = environment_of(toolbox)
    at = home / "root"
    at.mkdir(parents=True, exist_ok=True)
    entry = f":armwheels:M::{_MAGIC}:{_MASK}:{toolbox.qemu()}:FPC"
    folders = [ROOT, toolbox.home, home, *seen, *([Path("/etc/ssl")] if Path("/etc/ssl").is_dir() else [])]
    paths = dict.fromkeys([*folders, *(folder.resolve() for folder in folders)])
    outer = [one for one in paths if not any(one != other and one.is_relative_to(other) for other in paths)]
    starts = {"armwheels": [str(python), "-c", _CLI], "python": [str(python)]}
    program = [*starts.get(command[0], [command[0]]), *command[1:]]
    return [
        *(
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--",
            "/bin/sh",
            "-c",
            _BEGIN,
            "arm-host",
            entry,
        ),
        *(str(ENTER), str(toolbox.ensure("arm-host")), str(at), *map(str, outer), "--"),
        *("/usr/bin/env", f"--chdir={ROOT}", *program),
    ]


def environment(cpu: str, home: Path, **variables: str) -> dict[str, str]:
    """The variables on the host: none of this machine's but how pip finds its index."""
    settings = pip_settings()
    index = pip_indexes()[0]
    passed = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {
        **passed,
        "PATH": "/usr/bin:/bin:/usr/sbin",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "QEMU_CPU": cpu,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ARMWHEELS_HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        **({"PIP_INDEX_URL": index} if index else {}),
        **({"PIP_CERT": settings["cert"], "SSL_CERT_FILE": settings["cert"]} if "cert" in settings else {}),
        **variables,
    }


def prepare(toolbox: Toolbox, home: Path) -> None:
    """Fetch what the host would fetch by apt and from pip's index: its own parts, pinned by their sha256."""
    home.mkdir(parents=True, exist_ok=True)
    for name in ("downloads", "toolbox"):  # parts of the two kinds of hosts have different names
        if not (home / name).exists():
            (home / name).symlink_to(toolbox.home / name)
    here = Toolbox(toolbox.report, home=toolbox.home)
    here.pins = pins_on("aarch64", here.pins, here.toolchains)
    pythons = [f"{kind}-{tag}" for tag in PYTHONS for kind in ("python", "headers", "userland")]
    for part in (*PARTS, *pythons):
        here.fetch(part)


def environment_of(toolbox: Toolbox) -> Path:
    """The Python of an environment with Armwheels' locked dependencies for arm64, installed by uv, once."""
    lock = ROOT / "requirements.lock"
    platform_name = ["--python-platform", "aarch64-manylinux_2_40", "--python-version", "3.13"]

    def install(folder: Path) -> None:
        site = folder / SITE
        site.mkdir(parents=True)
        subprocess.run(
            [
                *(str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--no-deps"),
                *("--link-mode", "copy", "--only-binary", ":all:", "--require-hashes"),
                *("--python", str(toolbox.build_python(TAG)), *platform_name),
                *("--target", str(site), "-r", str(lock)),
            ],
            env=uv_environment(),
            check=True,
        )
        (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.13\n", encoding="ascii")
        (site / "bin").rename(folder / "bin")
        (folder / "bin/python3.13").symlink_to("/usr/bin/python3.13")
        subprocess.run(
            [str(toolbox.build_python(TAG)), "-m", "compileall", "-q", str(site)],
            capture_output=True,
            check=False,
        )

    folder = create_once(toolbox.home / "envs" / f"arm-host-{sha256_of(lock)[:12]}", install)
    return folder / "bin/python3.13"


if __name__ == "__main__":
    sys.exit(main())
