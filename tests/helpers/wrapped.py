"""Compiler wrappers over a compiler that prints its arguments."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from builder.compile.wrappers import write_wrappers
from builder.model.recipe import Recipe
from builder.targets import Targets
from builder.toolbox.tools import load_toolchains
from tests.helpers.builds import build_for


class Wrapped:
    """Wrappers of one build over a compiler that prints one argument a line."""

    def __init__(
        self, folder: Path, recipe: Recipe, targets: Targets, target: str, *, tuned: bool = True
    ) -> None:
        echo = folder / "echo"
        echo.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        echo.chmod(0o755)
        # ccache, for what it does not keep: it runs the command that follows.
        ccache = folder / "ccache"
        ccache.write_text('#!/bin/sh\nexec "$@"\n')
        ccache.chmod(0o755)
        for part, names in {
            "gnu": ("gcc-12", "g++-12", "ar", "ranlib"),
            "gnu-14": ("gcc-14", "g++-14", "ar", "ranlib"),
            "gfortran-14": ("gfortran-14",),
        }.items():
            programs = folder / part / "usr/bin"
            programs.mkdir(parents=True)
            for name in names:
                (programs / f"aarch64-linux-gnu-{name}").symlink_to(echo)
        toolbox: Any = SimpleNamespace(
            zig=lambda _: echo,
            ccache=lambda: ccache,
            ensure=lambda part: folder / part,
            home=folder.parent,
            toolchains=load_toolchains(),
        )
        self.commands = write_wrappers(
            build_for(recipe, targets, target),
            toolbox,
            folder / "bin",
            tuned=tuned,
            libraries=[folder / "deps/lib"],
        )

    def cc(self, *arguments: str, folder: Path | None = None) -> list[str]:
        return self._run(self.commands.cc, arguments, folder)

    def cxx(self, *arguments: str, folder: Path | None = None) -> list[str]:
        return self._run(self.commands.cxx, arguments, folder)

    def fc(self, *arguments: str, folder: Path | None = None) -> list[str]:
        assert self.commands.fc is not None
        return self._run(self.commands.fc, arguments, folder)

    def _run(self, program: Path, arguments: tuple[str, ...], folder: Path | None) -> list[str]:
        done = subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, check=True, cwd=folder
        )
        return done.stdout.splitlines()
