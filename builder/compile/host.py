"""The programs of this machine that a build may run.

All others, such as ``pg_config``, ``xml2-config`` and ``gcc``, describe this machine or compile for it. They come
from the toolbox or from the recipe's requirements, or the build does not find them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

_SYSTEM = "/usr/bin:/bin"
# The shell and utilities of POSIX.1-2024 as Debian's essential packages, gawk and perl have them; then archives,
# revisions, the lock of `write_ninja_in_turn`, and make.
_NAMES = """
    [ awk basename bash cat chgrp chmod chown cksum cmp comm cp cut date dash dd df diff dirname du echo
    egrep env expand expr false fgrep file find fold gawk getconf grep head hostname id install join kill ln
    logname ls m4 mawk md5sum mkdir mkfifo mktemp mv nice nl nohup nproc od paste patch perl pr printf ps
    pwd readlink realpath rm rmdir sed seq sh sha256sum sleep sort split stat stty sum sync tac tail tee
    test timeout touch tr true truncate tsort tty uname unexpand uniq wc which whoami xargs yes
    bunzip2 bzip2 cpio gunzip gzip tar unzip xz zip zstd
    git flock make
"""
HOST_PROGRAMS = tuple(_NAMES.split())


def link_host_programs(folder: Path) -> Path:
    """Fill ``folder`` with links to those of :data:`HOST_PROGRAMS` that this machine has; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in HOST_PROGRAMS:
        link = folder / name
        if (program := shutil.which(name, path=_SYSTEM)) and not link.is_symlink():
            link.symlink_to(program)
    return folder
