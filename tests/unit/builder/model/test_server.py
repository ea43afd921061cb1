"""Servers: the file agrees with recorded machines, and features have Linux's bits."""

from __future__ import annotations

import pytest

from builder.cpus import load_servers
from builder.errors import ConfigError
from builder.model.server import HWCAP, HWCAP2, ServerTable, names_of
from builder.settings import configs_dir, read_toml, validate
from builder.targets import Targets
from tests.helpers import DATA

SERVERS = load_servers()
# The names of the records in tests/data/cpuinfo that differ from the servers'.
RECORDS = {"apollo80": "a64fx", "cobalt100": "cobalt100-vm"}
# Those of which no record was found, the recorded one that each is derived from, and what it has beside.
DERIVED = {
    "ampereone-ac5": ("ampereone-ac4", {"afp", "cssc", "wfxt"}),
    "neoverse-n3": ("cobalt100", {"afp", "ecv", "wfxt"}),
}
GRAVITON3 = read_toml(configs_dir() / "servers.toml")["graviton3"]


@pytest.mark.parametrize("name", [name for name, server in SERVERS.items() if server.recorded])
def test_each_server_is_as_recorded(name: str) -> None:
    recorded = (DATA / "cpuinfo" / f"{RECORDS.get(name, name)}.txt").read_text(encoding="utf-8")
    assert lines(SERVERS[name].cpuinfo(1)) == lines(recorded)


def test_a_server_that_nobody_recorded_is_derived_from_one_that_was_and_says_so() -> None:
    assert {name for name, server in SERVERS.items() if not server.recorded} == set(DERIVED)
    for name, (base, beside) in DERIVED.items():
        assert SERVERS[name].flags - SERVERS[base].flags == beside
        assert SERVERS[base].flags <= SERVERS[name].flags
        assert SERVERS[name].description.endswith(", not recorded")


def lines(text: str) -> list[list[str]]:
    """Keys and values; copies of the files differ in the spaces between them."""
    return [[part.strip() for part in line.split(":")] for line in text.splitlines() if line]


def test_all_servers_that_people_ask_for_are_there(targets: Targets) -> None:
    asked = {"graviton2", "graviton3", "graviton4", "altra", "cobalt100", "axion", "grace"}
    assert asked <= SERVERS.keys()
    assert {target.server.name for target in targets.values()} <= SERVERS.keys()


def test_cpuinfo_is_written_as_linux_does() -> None:
    block = "\n".join(
        (
            "BogoMIPS\t: 243.75",
            f"Features\t: {SERVERS['graviton2'].features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x3",
            "CPU part\t: 0xd0c",
            "CPU revision\t: 1",
        )
    )
    assert SERVERS["graviton2"].cpuinfo(2) == f"processor\t: 0\n{block}\n\nprocessor\t: 1\n{block}\n\n"


def test_the_part_is_that_of_the_target(targets: Targets) -> None:
    assert SERVERS["ampereone"].part == "0xc0:0xac3"
    assert SERVERS["thunderx2"].part == "0x43:0x0af"
    assert all(target.server.part in target.parts for target in targets.values())


@pytest.mark.parametrize(
    ("name", "bit"),
    # HWCAP_* of Linux's uapi/asm/hwcap.h, some of each dozen.
    [("fp", 0), ("aes", 3), ("cpuid", 11), ("asimddp", 20), ("sve", 22), ("ssbs", 28), ("pacg", 31)],
)
def test_capabilities_have_linux_s_bits(name: str, bit: int) -> None:
    assert HWCAP[bit] == name


@pytest.mark.parametrize(
    ("name", "bit"),
    # HWCAP2_* of the same file.
    [("dcpodp", 0), ("sve2", 1), ("svei8mm", 9), ("bf16", 14), ("rng", 16), ("sme", 23), ("smefa64", 30),
     ("wfxt", 31), ("sve2p1", 36), ("mops", 43), ("hbc", 44)],
)  # fmt: skip
def test_second_capabilities_have_linux_s_bits(name: str, bit: int) -> None:
    assert HWCAP2[bit] == name


def test_bits_and_names_are_inverse() -> None:
    for server in SERVERS.values():
        assert names_of(*server.hwcap) == server.flags
    assert SERVERS["graviton2"].hwcap == (0x10119FFF, 0)
    assert names_of(1 << 63, 1 << 60) == {"bit63", "bit2.60"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": "fp asimd neon"}, "Linux has no feature neon"),
        ({"features": "asimd fp"}, "in Linux's order"),
        ({"features": "fp fp asimd"}, "once each"),
        ({"midr": 0x411DD401}, "the architecture"),
        ({"midr": 1 << 32}, "midr"),
        ({"midr": "0x411fd401"}, "midr"),
        ({"bogomips": "2100"}, "bogomips"),
        ({"feature": "fp"}, "feature: unknown key; did you mean 'features'"),
    ],
)
def test_a_fault_in_a_table_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(ServerTable, {**GRAVITON3, **changes}, origin="servers.toml")
