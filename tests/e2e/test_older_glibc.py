"""What GCC links for a recipe that promises an older glibc than the sysroot's, read back from the library."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.compile.wrappers import write_wrappers
from builder.cpus import load_targets
from builder.model.recipe import Recipe
from builder.settings import validate
from builder.toolbox.toolbox import Toolbox
from tests.helpers.builds import RECIPE, build_for
from tests.helpers.elf_versions import required_versions

pytestmark = [pytest.mark.slow]

MATHS = """
#include <math.h>
#include <stdio.h>
#include <stdexcept>
#include <features.h>
#if __GLIBC_PREREQ(2, 29) != NEWER
#error "the headers name another glibc"
#endif
extern "C" __attribute__((visibility("default"))) double power(double x, double y) {
    if (x < 0) throw std::runtime_error("negative");
    return pow(x, y) + exp(x) + log(y) + expf((float)x) + fmod(x, y);
}
int main() { return printf("%.3f\\n", power(2, 3)) != 7; }
"""
MAIN = "#include <unistd.h>\n#include <sys/types.h>\nint main(void) { return gettid() == 0; }\n"
"""gettid() is new in glibc 2.30."""


class Compiling:
    def __init__(self, toolbox: Toolbox, folder: Path, glibc: str) -> None:
        data = {**RECIPE, "build": {**RECIPE["build"], "compiler": "gcc", "glibc": glibc}}
        build = build_for(validate(Recipe, data, origin="demo.toml"), load_targets(), "generic")
        (folder / "bin").mkdir(parents=True)
        self.folder = folder
        self.commands = write_wrappers(build, toolbox, folder / "bin")

    def link(self, text: str, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        source = self.folder / f"{name}.cpp"
        source.write_text(text)
        command = [str(self.commands.cxx), "-O2", str(source), "-o", str(self.folder / name), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)


def test_a_library_asks_for_no_newer_version_than_its_recipe_promises(
    toolbox: Toolbox, tmp_path: Path
) -> None:
    older = Compiling(toolbox, tmp_path / "older", "2.28")
    done = older.link(MATHS, "maths.so", "-DNEWER=0", "-fPIC", "-shared", "-lm", "-Wl,-z,defs")
    assert done.returncode == 0, done.stderr
    found = required_versions(tmp_path / "older/maths.so")
    assert {name: found[name] for name in ("pow", "exp", "log", "fmod")} == dict.fromkeys(
        ("pow", "exp", "log", "fmod"), "GLIBC_2.17"
    )
    assert found["expf"] == "GLIBC_2.27"


def test_the_sysroots_own_glibc_is_taken_as_it_is(toolbox: Toolbox, tmp_path: Path) -> None:
    same = Compiling(toolbox, tmp_path / "same", "2.31")
    done = same.link(MATHS, "maths.so", "-DNEWER=1", "-fPIC", "-shared", "-lm", "-Wl,-z,defs")
    assert done.returncode == 0, done.stderr
    assert required_versions(tmp_path / "same/maths.so")["pow"] == "GLIBC_2.29"
    assert same.link(MAIN, "main").returncode == 0


def test_a_configuration_check_does_not_find_what_the_older_glibc_lacks(
    toolbox: Toolbox, tmp_path: Path
) -> None:
    older = Compiling(toolbox, tmp_path / "older", "2.28")
    done = older.link(MAIN, "main")
    assert done.returncode != 0
    assert "undefined reference to `gettid'" in done.stderr


def test_a_program_linked_with_older_versions_runs(toolbox: Toolbox, tmp_path: Path) -> None:
    older = Compiling(toolbox, tmp_path / "older", "2.28")
    done = older.link(MATHS, "maths", "-DNEWER=0", "-lm")
    assert done.returncode == 0, done.stderr
    run = subprocess.run(
        [str(toolbox.qemu()), "-L", str(toolbox.userland("cp311")), str(tmp_path / "older/maths")],
        capture_output=True,
        text=True,
        check=True,
    )
    # 2^3 + e^2 + ln 3 + e^2 + 2 mod 3
    assert run.stdout == "25.877\n"
