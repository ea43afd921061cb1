"""Whether wheels of a target run on this machine itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.emulation import native
from builder.targets import Targets

CPUINFO = Path(__file__).resolve().parents[3] / "data/cpuinfo"


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "target", "said"),
    [
        (
            "aarch64",
            "graviton3.txt",
            "neoverse-v1",
            "this machine, Arm Neoverse V1, which is emulated itself",
        ),
        (
            "aarch64",
            "graviton3.txt",
            "neoverse-n1",
            "this machine, Arm Neoverse V1, which is emulated itself",
        ),
        ("aarch64", "graviton2.txt", "neoverse-v1", ""),
        ("aarch64", "raspberrypi4-32bit.txt", "generic", ""),
        ("aarch64", "absent.txt", "generic", ""),
        ("x86_64", "graviton3.txt", "generic", ""),
    ],
)
def test_real_hardware_is_used_where_it_has_what_the_wheels_may_use(
    machine: str, cpuinfo: str, target: str, said: str, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(native, "CPUINFO", CPUINFO / cpuinfo)
    assert native.own_cpu(targets[target], targets) == said


def test_a_machine_with_an_identification_is_real(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(native, "CPUINFO", CPUINFO / "graviton3.txt")
    monkeypatch.setattr(native, "is_real", lambda _: True)
    assert native.own_cpu(targets["generic"], targets) == "this machine, Arm Neoverse V1"
