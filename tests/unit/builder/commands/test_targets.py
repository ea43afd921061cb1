"""The command ``armwheels targets``: the drawing, and the fit of a machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from builder import cli
from builder.commands import machine
from builder.errors import ConfigError
from tests.helpers import DATA

CPUINFO = DATA / "cpuinfo"


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "out", Console(width=200))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli.make_app(), ["targets", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_draws_the_order_with_aliases_and_flags() -> None:
    lines = run().splitlines()
    v1 = next(line for line in lines if "neoverse-v1" in line)
    assert all(part in v1 for part in ("└─", "graviton3", "-mcpu=neoverse_v1"))
    assert v1.index("neoverse-v1") > next(line for line in lines if "neoverse-n1" in line).index(
        "neoverse-n1"
    )


def test_says_which_target_fits_and_why_not_the_next_better() -> None:
    text = run("--cpuinfo", str(CPUINFO / "graviton2.txt"))
    assert "fits neoverse-n1, Arm Neoverse N1" in text
    v1 = next(line for line in text.splitlines() if line.startswith("neoverse-v1"))
    assert "no" in v1.split()
    assert "sve" in v1.split()


def test_says_what_a_kernel_hides(tmp_path: Path) -> None:
    recorded = (CPUINFO / "graviton3.txt").read_text(encoding="utf-8")
    (tmp_path / "cpuinfo").write_text(recorded.replace(" sve ", " "), encoding="utf-8")
    text = run("--cpuinfo", str(tmp_path / "cpuinfo"))
    assert "Arm Neoverse V1, but the kernel or hypervisor does not show sve" in text


def test_host_on_another_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(ConfigError, match=r"not an Arm one \(x86_64\).*--cpuinfo FILE"):
        run("--host")


def test_a_recording_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        run("--cpuinfo", str(tmp_path / "none"))
