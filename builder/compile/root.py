"""Runs a command in another root folder, without root privileges: a user namespace, a mount namespace and chroot.

This is for programs that need a newer C library than this machine's and that find their files by absolute paths.
The root is a tmpfs that exists as long as the command. It contains the ``/usr`` and ``/etc`` of a toolbox part, the
machine's ``/proc``, ``/dev`` and name service, and the folders of the build under their usual paths. See
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
    """The command line that runs ``command`` with the root ``root``, in the folder ``inside``.

    ``at`` is an empty folder to mount on; outside the namespace it stays empty. ``folders`` have the same paths
    inside as outside.
    """
    seen: dict[Path, None] = {}
    for folder in folders:
        seen |= {folder: None, folder.resolve(): None}
    # The mount of a folder includes its subfolders, and would hide one that was mounted before.
    outer = [one for one in seen if not any(one.is_relative_to(other) for other in seen if other != one)]
    return [
        *("unshare", "--user", "--map-root-user", "--mount", "--", "/bin/sh", str(ENTER)),
        *(str(root), str(at), *map(str, outer), "--"),
        *("/usr/bin/env", f"--chdir={inside}", *command),
    ]


@cache
def why_not() -> str:
    """The reason why this machine forbids user and mount namespaces; empty if it allows them."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", "mount -t tmpfs probe /mnt"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "the program unshare is missing (package util-linux)"
    return done.stderr.strip() or f"unshare ended with {done.returncode}" if done.returncode else ""


def check() -> None:
    """Check that this machine allows user and mount namespaces to an ordinary user.

    Raises:
        CompileError: it does not.
    """
    if reason := why_not():
        raise CompileError(
            f"Bazel needs a user namespace, which this machine does not allow: {reason}\n"
            "Allow it (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns; in a container its seccomp profile), or build elsewhere."
        )
