"""Faults of ``configs/`` that the builder and the index must both refuse, and how they say so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from index_server.configs import load_configs
from index_server.errors import ConfigError
from index_server.settings import ROOT

V1_RUNS = 'aliases = ["graviton3", "graviton3e"]\nalso_runs = ["neoverse-n1", "generic"]'
MISSPELT = [
    # file, the right text, the wrong one, the key or name at fault, the nearest that is known
    ("channels.toml", "[stable.gates]", "[stable.gate]", "stable.gate", "gates"),
    ("channels.toml", "retention_days = 90", "retention_day = 90", "nightly.retention_day", "retention_days"),
    ("channels.toml", "evidence = [", "evidences = [", "stable.gates.evidences", "evidence"),
    ("channels.toml", "from = [", "form = [", "stable.gates.form", "from"),
    ("channels.toml", 'from = ["nightly"]', 'from = ["nihgtly"]', "stable.gates.from", "nightly"),
    ("channels.toml", 'required = ["quick"]', 'required = ["quik"]', "stable.gates.required", "quick"),
    ("matrices.toml", "required = true", "requird = true", "quick.cells[0].requird", "required"),
    ("matrices.toml", "closed = true", "close = true", "pytorch.close", "closed"),
    (
        "matrices.toml",
        '"neoverse-n1", "neoverse-v1"]',
        '"neoverse-n1", "neovers-v1"]',
        "targets",
        "neoverse-v1",
    ),
    ("targets.toml", V1_RUNS, V1_RUNS.replace("also_runs", "also_run"), "neoverse-v1.also_run", "also_runs"),
    ("targets.toml", V1_RUNS, V1_RUNS.replace("aliases", "alias"), "neoverse-v1.alias", "aliases"),
    ("targets.toml", V1_RUNS, V1_RUNS.replace("-n1", "-n11"), "neoverse-v1.also_runs", "neoverse-n1"),
    ("targets.toml", "emulator = { cpu =", "emulator = { cpus =", "generic.emulator.cpus", "cpu"),
    ("targets.toml", "l1d = 32", "l1 = 32", "generic.cache.l1", "l1d"),
    ("targets.toml", "{ remove =", "{ removed =", "neoverse-v1.features.removed", "remove"),
    ("targets.toml", '{ from = "4.8"', '{ form = "4.8"', "generic.flags.gcc[0].form", "from"),
]
ILL_TYPED = [
    # file, the right text, the wrong one, the key at fault
    ("channels.toml", "approvals = 0", "approvals = true", "stable.gates.approvals"),
    ("channels.toml", "approvals = 0", "approvals = -1", "stable.gates.approvals"),
    ("channels.toml", 'evidence = ["audit", "emulation"]', 'evidence = "audit"', "stable.gates.evidence"),
    ("channels.toml", "retention_days = 90", 'retention_days = "90"', "nightly.retention_days"),
    ("channels.toml", "retention_days = 90", "retention_days = 90.0", "nightly.retention_days"),
    ("channels.toml", "[nightly]", "[[nightly]]", "nightly"),
    ("channels.toml", "[nightly]", "[api]", "api"),
    ("channels.toml", "[nightly]", "[Nightly]", "Nightly"),
    ("matrices.toml", "required = true", 'required = "yes"', "quick.cells[0].required"),
    ("matrices.toml", "required = true", "required = 1", "quick.cells[0].required"),
    ("matrices.toml", 'pythons = ["cp311"]', 'pythons = "cp311"', "quick.cells[0].pythons"),
    ("matrices.toml", 'pythons = ["cp311"]', 'pythons = ["3.11"]', "quick.cells[0].pythons[0]"),
    ("matrices.toml", 'versions = ["2.4.6"]', "versions = []", "quick.cells[0].versions"),
    ("matrices.toml", 'recipe = "numpy"\n', "", "quick.cells[0].recipe"),
    ("targets.toml", V1_RUNS, V1_RUNS.replace('["neoverse-n1", "generic"]', '"generic"'), "neoverse-v1.also_runs"),
    ("targets.toml", '"graviton3", ', '"graviton3", "generic", ', "neoverse-v1.aliases"),
    ("targets.toml", '"graviton3", ', '"graviton3", "graviton4", ', "graviton4"),
]  # fmt: skip


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A copy of this project's configs."""
    return Path(shutil.copytree(ROOT / "configs", tmp_path / "configs"))


def change(configs: Path, file: str, right: str, wrong: str) -> None:
    path = configs / file
    text = path.read_text(encoding="utf-8")
    assert right in text
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")


def index_faults(configs: Path) -> str:
    """What the index says when it is started with these configs."""
    with pytest.raises(ConfigError) as caught:
        load_configs(configs)
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_this_projects_configs_have_no_fault() -> None:
    assert load_configs(ROOT / "configs").matrices["quick"].cells[0].required


@pytest.mark.parametrize(("file", "right", "wrong", "key", "nearest"), MISSPELT)
def test_what_is_misspelt_is_named_with_the_nearest(
    configs: Path, file: str, right: str, wrong: str, key: str, nearest: str
) -> None:
    change(configs, file, right, wrong)
    lines = index_faults(configs).splitlines()
    assert any(file in line and key in line and f"did you mean '{nearest}'?" in line for line in lines), lines


@pytest.mark.parametrize(("file", "right", "wrong", "key"), ILL_TYPED)
def test_what_is_of_the_wrong_type_is_named(
    configs: Path, file: str, right: str, wrong: str, key: str
) -> None:
    change(configs, file, right, wrong)
    lines = index_faults(configs).splitlines()
    assert any(file in line and key in line for line in lines), lines


def test_the_faults_of_all_files_come_together(configs: Path) -> None:
    for file, right, wrong, *_ in (MISSPELT[0], MISSPELT[1], MISSPELT[6], MISSPELT[9]):
        change(configs, file, right, wrong)
    (configs / "targets.toml").write_text("[generic", encoding="utf-8")
    message = index_faults(configs)
    for part in (
        "stable.gate:",
        "nightly.retention_day:",
        "quick.cells[0].requird:",
        "targets.toml: not valid TOML",
    ):
        assert part in message
