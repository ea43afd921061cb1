"""Runs a command in a root of its own without root privileges: a user namespace, a mount namespace and chroot.

For programs that want a newer C library than this machine's and look for their files by absolute paths. The root
is put together on a tmpfs that lives as long as the command: the part's ``/usr`` and ``/etc``, the machine's
``/proc``, ``/dev`` and name service, and the folders that builds work in, at the places they have outside. See
unshare(1), user_namespaces(7) and mount_namespaces(7).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from builder.errors import CompileError

ENTER = Path(__file__).with_name("enter.sh")


def enter(root: Path, at: Path, folders: Iterable[Path], command: Sequence[str], inside: Path) -> list[str]:
    """The command that runs ``command`` below ``root`` in the folder ``inside``.

    ``at`` is an empty folder to mount on; outside the namespace it stays empty. ``folders`` are seen inside where
    they are outside.
    """
    seen: dict[Path, None] = {}
    for folder in folders:
        seen |= {folder: None, folder.resolve(): None}
    # A folder below another one is there with it; mounted first it would be hidden by it.
    outer = [one for one in seen if not any(one.is_relative_to(other) for other in seen if other != one)]
    return [
        *("unshare", "--user", "--map-root-user", "--mount", "--", "/bin/sh", str(ENTER)),
        *(str(root), str(at), *map(str, outer), "--"),
        *("/usr/bin/env", f"--chdir={inside}", *command),
    ]


@cache
def why_not() -> str:
    """Why no root can be entered on this machine, which may forbid user namespaces; empty if one can."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", "mount -t tmpfs probe /mnt"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare (package util-linux)"
    return done.stderr.strip() or f"unshare ended with {done.returncode}" if done.returncode else ""


def check() -> None:
    """Make sure that a root can be entered here.

    Raises:
        CompileError: the machine does not let an ordinary user make user and mount namespaces.
    """
    if reason := why_not():
        raise CompileError(
            f"this machine does not let a root be entered by a user namespace: {reason}\n"
            "Allow it (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns; in a container its seccomp profile), or build elsewhere."
        )
