"""PyTorch extended: the example built for two CPUs as any recipe is, audited, and run beside PyPI's own wheel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.toolbox.toolbox import Toolbox
from tests.helpers.places import Place

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(1200)]


def _reports(place: Place, wheel: Path) -> dict[str, dict]:
    """What audit and emulation left about a wheel, by kind."""
    found = {}
    for path in place.home.glob("out/checks/*.json"):
        report = json.loads(path.read_text())
        if report["filename"] == wheel.name:
            found[path.name.split("-")[1]] = report
    return found


@pytest.fixture
def sharing(place: Place, toolbox: Toolbox) -> Place:
    """A place that keeps what tests stand on, PyTorch among it, installed where other runs find it.

    Its headers are not shared: GCC would follow the link and name them by where they really lie.
    """
    (toolbox.home / "envs").mkdir(exist_ok=True)
    (place.home / "envs").symlink_to(toolbox.home / "envs")
    return place


def test_the_example_for_pytorch_agrees_with_pytorch_on_each_cpu(sharing: Place) -> None:
    wheels = {}
    for target in ("neoverse-v1", "neoverse-n1"):
        build = f"torch-int8-linear-1.0.0-cp311-{target}"
        done = sharing.run("armwheels", "build", build, "--matrix", "extensions", timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        [wheels[target]] = sharing.home.glob(f"out/wheels/*/*+{target.replace('-', '.')}-*.whl")

    seen, lesser = {}, {}
    for target, wheel in wheels.items():
        reports = _reports(sharing, wheel)
        verdicts = {verdict["check"]: verdict for verdict in reports["audit"]["verdicts"]}
        assert "supplied by torch==2.6.0, which it requires" in verdicts["libraries"]["detail"]
        seen[target] = set(verdicts["tuned-code"]["data"]["extensions"])
        checks = {check["name"]: check for check in reports["emulation"]["checks"]}
        assert {"agreement", "extremes", "layer", "threads"} <= {
            name for name, check in checks.items() if check["outcome"] == "pass"
        }
        lesser[target] = reports["emulation"]["lesser"]["outcome"]
    assert {"sve", "sve-i8mm"} <= seen["neoverse-v1"]
    assert "dotprod" in seen["neoverse-n1"]
    assert not {name for name in seen["neoverse-n1"] if name.startswith("sve") or name == "i8mm"}
    assert lesser == {"neoverse-v1": "illegal-instruction", "neoverse-n1": "illegal-instruction"}

    wrong = sharing.run("armwheels", "audit", str(wheels["neoverse-v1"]), "--target", "neoverse-n1")
    assert wrong.returncode != 0
    assert "do not run on neoverse-n1" in wrong.stdout
