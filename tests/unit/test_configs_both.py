"""What the builder and the index read alike: ``configs/`` with its faults, and pip's configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from builder import load
from builder.audit import open_wheel
from builder.errors import ConfigError as BuilderConfigError
from builder.errors import RepairError, ToolboxError
from builder.model import variants
from builder.model.channel import Channel
from builder.model.matrix import Matrix
from builder.model.target import TargetTable
from builder.model.wheel_name import disagreements, split_label
from builder.repair.variant import make_variant
from builder.toolbox import fetch
from index_server.configs import ChannelTable, MatrixTable, load_configs
from index_server.configs import TargetTable as IndexTargetTable
from index_server.errors import ConfigError
from index_server.intake.wheel import read_wheel
from index_server.names import parse_name
from index_server.names import split_label as index_split_label
from index_server.rules import variants as rules
from index_server.settings import ROOT, load_settings
from index_server.upkeep.resolve import upstream_of_pip
from tests.helpers.wheels import make_passport, make_wheel, tuned_wheel

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
    ("targets.toml", 'server = "gr', 'servr = "gr', "generic.servr", "server"),
    ("targets.toml", "nearest = true", "nearst = true", "generic.core.nearst", "nearest"),
    ("targets.toml", "l1d = 32", "l1 = 32", "generic.cache.l1", "l1d"),
    ("targets.toml", "{ remove =", "{ removed =", "neoverse-v1.features.removed", "remove"),
    ("channels.toml", '"emulation",', '"emulaton",', "stable.gates.evidence", "emulation"),
    ("channels.toml", "dev_versions = 30", "dev_version = 30", "nightly.dev_version", "dev_versions"),
    ("targets.toml", '{ from = "4.8"', '{ form = "4.8"', "generic.flags.gcc[0].form", "from"),
]
ILL_TYPED = [
    # file, the right text, the wrong one, the key at fault
    ("channels.toml", "approvals = 0", "approvals = true", "stable.gates.approvals"),
    ("channels.toml", "approvals = 0", "approvals = -1", "stable.gates.approvals"),
    ("channels.toml", 'evidence = ["audit", "emulation", "bench"]', 'evidence = "audit"', "stable.gates.evidence"),
    ("channels.toml", "retention_days = 90", 'retention_days = "90"', "nightly.retention_days"),
    ("channels.toml", "retention_days = 90", "retention_days = 90.0", "nightly.retention_days"),
    ("channels.toml", "dev_versions = 30", "dev_versions = 0", "nightly.dev_versions"),
    ("channels.toml", "dev_versions = 30", "dev_days = 40000", "nightly.dev_days"),
    ("channels.toml", "[nightly]", "[[nightly]]", "nightly"),
    ("channels.toml", "[nightly]", "[api]", "api"),
    ("channels.toml", "[nightly]", "[Nightly]", "Nightly"),
    ("matrices.toml", "required = true", 'required = "yes"', "quick.cells[0].required"),
    ("matrices.toml", "required = true", "required = 1", "quick.cells[0].required"),
    ("matrices.toml", 'pythons = ["cp313"]', 'pythons = "cp313"', "quick.cells[0].pythons"),
    ("matrices.toml", 'pythons = ["cp313"]', 'pythons = ["3.13"]', "quick.cells[0].pythons[0]"),
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


def builder_faults(configs: Path) -> str:
    """What a command of the builder says that reads these configs."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ARMWHEELS_CONFIGS", str(configs))
        with pytest.raises(BuilderConfigError) as caught:
            load.load_configs()
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
    message = builder_faults(configs)
    assert file in message
    assert any(key in line and f"did you mean '{nearest}'?" in line for line in message.splitlines()), message


@pytest.mark.parametrize(("file", "right", "wrong", "key"), ILL_TYPED)
def test_what_is_of_the_wrong_type_is_named(
    configs: Path, file: str, right: str, wrong: str, key: str
) -> None:
    change(configs, file, right, wrong)
    lines = index_faults(configs).splitlines()
    assert any(file in line and key in line for line in lines), lines
    if key != "api":  # the paths of the server are its own
        message = builder_faults(configs)
        assert file in message
        assert key in message


def test_the_faults_of_all_files_come_together(configs: Path) -> None:
    for file, right, wrong, *_ in (MISSPELT[0], MISSPELT[1], MISSPELT[6], MISSPELT[9]):
        change(configs, file, right, wrong)
    (configs / "targets.toml").write_text("[generic", encoding="utf-8")
    for message in (index_faults(configs), builder_faults(configs)):
        for part in (
            "stable.gate:",
            "nightly.retention_day:",
            "quick.cells[0].requird:",
            "targets.toml: not valid TOML",
        ):
            assert part in message


def shape(model: type[BaseModel]) -> dict[str, Any]:
    """The keys of a table, with those of the tables in it."""
    schema = model.model_json_schema()

    def keys(node: dict[str, Any]) -> dict[str, Any]:
        nested = [*node.get("anyOf", ()), *node.get("patternProperties", {}).values()]
        nested += [node[key] for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
        if "$ref" in node:
            nested.append(schema["$defs"][node["$ref"].rpartition("/")[2]])
        found = {name: keys(value) for name, value in node.get("properties", {}).items()}
        for each in nested:
            found |= keys(each)
        return found

    return keys(schema)


@pytest.mark.parametrize(
    ("of_builder", "of_index"),
    [(Channel, ChannelTable), (Matrix, MatrixTable), (TargetTable, IndexTargetTable)],
)
def test_both_know_the_same_keys(of_builder: type[BaseModel], of_index: type[BaseModel]) -> None:
    assert shape(of_builder) == shape(of_index)
    assert shape(of_index)["description"] == {}


SIMPLE = "https://{}.invalid/simple"


@pytest.fixture
def indexes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[str | None, ...]]:
    """Writes files of pip's, the one for all users first, and gives the indexes that both halves read from them."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # A folder that sorts after the file of PIP_CONFIG_FILE, and is read before it.
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "zzz"))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    def read(last: str, first: str = "") -> tuple[str | None, ...]:
        (tmp_path / "zzz" / "pip").mkdir(parents=True)
        (tmp_path / "zzz" / "pip" / "pip.conf").write_text(first, encoding="utf-8")
        (tmp_path / "pip.conf").write_text(last, encoding="utf-8")
        fetch.pip_settings.cache_clear()
        of_builder = fetch.pip_indexes()
        fetch.pip_settings.cache_clear()
        of_index = upstream_of_pip()
        assert of_builder == (of_index.default, *of_index.extra)
        return of_builder

    return read


def named(*names: str) -> tuple[str, ...]:
    return tuple(SIMPLE.format(name) for name in names)


@pytest.mark.slow  # it runs pip
def test_extra_indexes_may_stand_on_several_lines(indexes: Callable[..., tuple[str | None, ...]]) -> None:
    lines = "".join(f"\n    {url}" for url in named("one", "two", "it's"))
    conf = f"[global]\nindex-url = {SIMPLE.format('main')}\nextra-index-url ={lines}\n"
    assert indexes(conf) == named("main", "one", "two", "it's")


@pytest.mark.slow  # it runs pip
@pytest.mark.parametrize("separator", [" ", "\n", "\n  "])
def test_extra_indexes_of_a_variable(
    indexes: Callable[..., tuple[str | None, ...]], monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", separator.join(named("one", "two")))
    conf = f"[global]\nindex-url = {SIMPLE.format('main')}\nextra-index-url = {SIMPLE.format('other')}\n"
    assert indexes(conf) == named("main", "one", "two")


@pytest.mark.slow  # it runs pip
def test_a_variable_comes_before_install_and_install_before_global(
    indexes: Callable[..., tuple[str | None, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = (
        f"[install]\nindex-url = {SIMPLE.format('install')}\n[global]\nindex-url = {SIMPLE.format('all')}\n"
    )
    first = f"[global]\nextra-index-url = {SIMPLE.format('first')}\n"
    assert indexes(conf, first) == named("install", "first")
    monkeypatch.setenv("PIP_INDEX_URL", SIMPLE.format("variable"))
    fetch.pip_settings.cache_clear()
    assert fetch.pip_indexes() == named("variable", "first")
    assert upstream_of_pip().default == SIMPLE.format("variable")


@pytest.mark.slow  # it runs pip
def test_the_last_file_that_pip_reads_counts(indexes: Callable[..., tuple[str | None, ...]]) -> None:
    conf = f"[global]\nindex-url = {SIMPLE.format('last')}\n"
    first = f"[global]\nindex-url = {SIMPLE.format('first')}\n"
    assert indexes(conf, first) == named("last")


@pytest.mark.slow  # it runs pip
def test_a_configuration_that_pip_cannot_read_is_refused(
    indexes: Callable[..., tuple[str | None, ...]],
) -> None:
    with pytest.raises(ToolboxError, match="pip cannot read"):
        indexes("index-url = x\n")
    with pytest.raises(ConfigError, match="pip cannot read"):
        upstream_of_pip()


PASSPORTS = [
    # version, build tag and tags of the file name; what the passport states; whether the two agree
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp311-cp311", {}, True),
    ("1.0+neoverse.v1", "12_3fa9c2d1", "cp311-cp311", {}, True),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp311-abi3", {}, True),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp39-abi3", {"python": "cp313"}, True),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp313-abi3", {}, False),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp312-cp312", {}, False),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp313-cp313t", {"python": "cp313t"}, True),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp313-cp313", {"python": "cp313t"}, False),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp313-cp313t", {"python": "cp313"}, False),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp313-abi3", {"python": "cp313t"}, False),
    ("1.0+neoverse.v1", "1_ffffffff", "cp311-cp311", {}, False),
    ("1.0+neoverse.v1", "1", "cp311-cp311", {}, False),
    ("1.0+neoverse.v1", "1x_3fa9c2d1", "cp311-cp311", {}, False),
    ("1.1+neoverse.v1", "1_3fa9c2d1", "cp311-cp311", {}, False),
    ("1.0", "1_3fa9c2d1", "cp311-cp311", {}, False),
    ("1.0+neoverse.n1", "1_3fa9c2d1", "cp311-cp311", {}, False),
    ("1.0+neoverse.v1.acl", "1_3fa9c2d1", "cp311-cp311", {"backend": "acl", "default_backend": False}, True),
    ("1.0+neoverse.v1", "1_3fa9c2d1", "cp311-cp311", {"backend": "acl", "default_backend": False}, False),
    ("1.0+neoverse.v1.acl", "1_3fa9c2d1", "cp311-cp311", {"backend": "acl"}, False),
]
VARIANT = {"variant": {"label": "armv8.2a", "of": "5" * 64}}
VARIANTS = [
    # version and label of the file name; what the passport states besides; whether the two agree
    ("1.0+generic", "-armv8.2a", VARIANT, True),
    ("1.0+generic", "-armv8.4a", VARIANT, False),
    ("1.0+generic", "", VARIANT, False),
    ("1.0+generic", "-armv8.2a", {}, False),
    ("1.0+neoverse.v1", "-armv8.2a", VARIANT, False),
    ("1.0+generic.acl", "-armv8.2a", {**VARIANT, "backend": "acl", "default_backend": False}, False),
]


@pytest.mark.parametrize(("version", "build", "tags", "facts", "agree"), PASSPORTS)
def test_whether_a_passport_agrees_with_the_file_name(
    tmp_path: Path, version: str, build: str, tags: str, facts: dict[str, Any], agree: bool
) -> None:
    filename = f"demo-{version}-{build}-{tags}-manylinux_2_28_aarch64.whl"
    wheel = tmp_path / filename
    wheel.write_bytes(make_wheel(filename, passport=make_passport(**facts)))
    settings = load_settings()
    faults = list(read_wheel(wheel, parse_name(filename), settings.targets, settings.passport).faults)
    assert (faults == []) is agree, faults
    assert all(fault.startswith("passport: ") for fault in faults)
    opened = open_wheel(wheel)
    faults = disagreements(
        make_passport(**facts),
        project=opened.project,
        version=opened.version,
        build=opened.build,
        tags=opened.tags,
    )
    assert (faults == []) is agree, faults


@pytest.mark.parametrize(("version", "label", "facts", "agree"), VARIANTS)
def test_whether_a_variant_s_passport_agrees_with_the_file_name(
    tmp_path: Path, version: str, label: str, facts: dict[str, Any], agree: bool
) -> None:
    filename = f"demo-{version}-1_3fa9c2d1-cp311-cp311-manylinux_2_28_aarch64{label}.whl"
    passport = {**make_passport(), **facts}
    wheel = tmp_path / filename
    wheel.write_bytes(make_wheel(filename, passport=passport, variant=label[1:]))
    settings = load_settings()
    faults = list(read_wheel(wheel, parse_name(filename), settings.targets, settings.passport).faults)
    assert (not [fault for fault in faults if fault.startswith("passport: ")]) is agree, faults
    opened = open_wheel(wheel)
    faults = disagreements(
        passport,
        project=opened.project,
        version=opened.version,
        build=opened.build,
        tags=opened.tags,
        label=opened.label,
    )
    assert (faults == []) is agree, faults


def test_both_have_the_same_labels_and_documents() -> None:
    assert dict(variants.VALUES) == rules.LABELS
    for label in rules.LABELS:
        assert json.loads(variants.document(label)) == json.loads(rules.document([label]))
        assert variants.document(label) == rules.document([label])


@pytest.mark.parametrize(
    "filename",
    [
        "demo-1.0-py3-none-any.whl",
        "demo-1.0-py3-none-any-null.whl",
        "demo-1.0-1a-py3-none-any.whl",
        "x.whl",
        "",
    ],
)
def test_both_find_the_same_label(filename: str) -> None:
    assert split_label(filename) == index_split_label(filename)


def test_the_index_takes_the_variant_that_the_builder_makes(tmp_path: Path) -> None:
    """The same tuned wheel gives the same bytes, and the index finds nothing wrong with them."""
    name, data = tuned_wheel(target="neoverse-n1", number=3)
    wheel = tmp_path / name
    wheel.write_bytes(data)
    first, second = (make_variant(wheel, "armv8.2a", tmp_path / out, print) for out in ("one", "two"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    opened = open_wheel(first)
    assert (opened.version, opened.label, opened.build[:2]) == ("1.0+generic", "armv8.2a", "3_")
    assert opened.passport is not None
    assert opened.passport["variant"] == {"label": "armv8.2a", "of": make_passport()["digests"]["wheel"]}
    assert (
        make_variant(wheel, "armv8.4a", tmp_path / "one", print).name.split("-")[2]
        != first.name.split("-")[2]
    )
    settings = load_settings()
    contents = read_wheel(first, parse_name(first.name), settings.targets, settings.passport)
    assert list(contents.faults) == []
    assert contents.tuned is not None
    assert contents.tuned.target == "neoverse-n1"
    for refused, why in (
        (first, "is a variant already"),
        (tuned_wheel(target="generic"), "is the plain wheel"),
        (tuned_wheel(backend="acl", default_backend=False), "has the backend acl"),
        (("demo-1.0-py3-none-any.whl", make_wheel("demo-1.0-py3-none-any.whl")), "has no passport"),
    ):
        if isinstance(refused, tuple):
            path = tmp_path / refused[0]
            path.write_bytes(refused[1])
        else:
            path = refused
        with pytest.raises(RepairError, match=why):
            make_variant(path, "armv8.2a", tmp_path / "none", print)
