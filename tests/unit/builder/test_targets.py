"""Targets: the file agrees with archspec, the order is one, and flags are of one family."""

from __future__ import annotations

import archspec.cpu
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import targets
from builder.cpus import load_servers
from builder.errors import ConfigError
from builder.load import load_configs
from builder.settings import configs_dir, read_toml
from builder.targets import Target
from tests.helpers import DATA

CONFIGURED = read_toml(configs_dir() / "targets.toml")
SERVERS = load_servers()
TARGETS = targets.load(CONFIGURED, SERVERS)
CPUINFO = DATA / "cpuinfo"

any_target = st.sampled_from(list(TARGETS.values()))

# Edges of our order that archspec does not have; each one's reason stands in the file.
MENDED_EDGES = {
    ("neoverse-v1", "neoverse-n2"),
    ("neoverse-v1", "neoverse-v2"),
    ("neoverse-v1", "neoverse-v3"),
    ("neoverse-v1", "neoverse-n3"),
    ("neoverse-n2", "neoverse-v2"),
    ("neoverse-n2", "neoverse-v3"),
}
# Features we took from or gave to archspec's lists.
MENDED_FEATURES = {
    "generic": {"asimd", "fp"},
    "neoverse-v1": {"rng"},
    "neoverse-v3": {"sm3", "sm4", "svesm4"},
    "ampere1b": {"afp", "cssc", "wfxt"},
    "neoverse-n3": {"afp", "ecv", "wfxt"},
}

# Recorded machine, the target that fits it; its part number names the same one.
RECORDINGS = [
    ("graviton1", "generic"),
    ("graviton2", "neoverse-n1"),
    ("graviton3", "neoverse-v1"),
    ("graviton3-rhel8", "neoverse-v1"),
    ("graviton4", "neoverse-v2"),
    ("grace", "neoverse-v2"),
    ("grace-rhel9", "neoverse-v2"),
    ("axion", "neoverse-v2"),
    ("cobalt100-vm", "neoverse-n2"),
    ("neoverse-n2-rhel9", "neoverse-n2"),
    ("thor", "neoverse-v3"),
    ("ampereone", "ampere1"),
    ("ampereone-ac4", "ampere1a"),
    ("altra", "neoverse-n1"),
    ("a64fx", "a64fx"),
    ("thunderx2", "thunderx2"),
    ("raspberrypi4", "generic"),
]


def one(name: str) -> Target:
    return TARGETS[name]


def variant(**changes: object) -> dict[str, object]:
    """The file with keys of [neoverse-v1] changed."""
    return {**CONFIGURED, "neoverse-v1": {**CONFIGURED["neoverse-v1"], **changes}}


class TestOrder:
    @given(any_target)
    def test_the_order_is_reflexive(self, a: Target) -> None:
        assert a <= a
        assert not a < a

    @given(any_target, any_target)
    def test_the_order_is_antisymmetric(self, a: Target, b: Target) -> None:
        assert not (a <= b and b <= a) or a == b
        assert (a < b) == (b > a)
        assert (a <= b) == (b >= a)

    @given(any_target, any_target, any_target)
    def test_the_order_is_transitive(self, a: Target, b: Target, c: Target) -> None:
        assert not (a <= b <= c) or a <= c

    @given(any_target, any_target)
    def test_a_greater_target_has_all_features_of_a_lesser_one(self, a: Target, b: Target) -> None:
        assert not a <= b or a.in_code <= b.in_code

    def test_the_order_is_archspecs_except_for_listed_edges(self) -> None:
        node = {name: archspec.cpu.TARGETS[CONFIGURED[name]["archspec"]] for name in TARGETS}
        # One that archspec does not have is above its node, and below nothing.
        listed = [name for name in TARGETS if not CONFIGURED[name].get("unlisted")]
        theirs = {(a, b) for a in listed for b in node if a != b and node[a] <= node[b]}
        ours = {(a.name, b.name) for a in TARGETS.values() for b in TARGETS.values() if a < b}
        assert ours == theirs | MENDED_EDGES

    def test_generic_is_below_all(self) -> None:
        assert all(one("generic") <= target for target in TARGETS.values())

    def test_known_relations_hold(self) -> None:
        assert one("neoverse-n1") <= one("neoverse-v1")
        assert not one("a64fx") <= one("neoverse-n1")
        assert "sve" in one("neoverse-v1")
        assert "sve" not in one("neoverse-n1")

    def test_features_are_archspecs_but_for_the_mends(self) -> None:
        for name, target in TARGETS.items():
            theirs = set(archspec.cpu.TARGETS[CONFIGURED[name]["archspec"]].features)
            assert target.features ^ theirs == MENDED_FEATURES.get(name, set()), name


class TestDump:
    @given(any_target)
    def test_a_dump_is_sorted(self, target: Target) -> None:
        dumped = target.model_dump(mode="json")
        assert dumped["features"] == sorted(target.features)
        assert dumped["below"] == sorted(target.below)


class TestAlsoRuns:
    @pytest.mark.parametrize("name", list(TARGETS))
    def test_lesser_targets_are_listed_best_first(self, name: str) -> None:
        target = one(name)
        listed = [one(other) for other in target.also_runs]
        assert all(other < target for other in listed)
        assert not any(a < b for i, a in enumerate(listed) for b in listed[i + 1 :])
        assert name == "generic" or listed[-1].name == "generic"

    @pytest.mark.parametrize("name", list(TARGETS))
    def test_no_lesser_target_is_left_out(self, name: str) -> None:
        assert set(one(name).also_runs) == {other.name for other in TARGETS.values() if other < one(name)}


class TestFlags:
    @given(any_target, st.sampled_from(["gcc", "clang", "zig"]), st.integers(0, 30), st.integers(0, 20))
    def test_one_family_or_a_clear_refusal(
        self, target: Target, compiler: str, major: int, minor: int
    ) -> None:
        steps = target.compilers[compiler]
        if (major, minor) < tuple(int(part) for part in (steps[0].since + ".0").split(".")[:2]):
            with pytest.raises(ConfigError, match=target.name):
                target.flags(compiler, f"{major}.{minor}")
        else:
            (flag,) = target.flags(compiler, f"{major}.{minor}")
            assert flag.startswith("-mcpu=")

    @pytest.mark.parametrize(
        ("name", "compiler", "version", "flag"),
        [
            ("neoverse-v1", "zig", "0.17.1", "-mcpu=neoverse_v1"),
            ("neoverse-v1", "gcc", "12.2.0", "-mcpu=neoverse-v1"),
            ("neoverse-v2", "gcc", "12.3.0", "-mcpu=neoverse-v2"),
            ("neoverse-v3", "gcc", "14.2.0", "-mcpu=neoverse-v3"),
            ("neoverse-n3", "gcc", "14.2.0", "-mcpu=neoverse-n3"),
            ("ampere1a", "gcc", "14.2.0", "-mcpu=ampere1a"),
            ("ampere1b", "gcc", "14.2.0", "-mcpu=ampere1b"),
            ("neoverse-v3", "clang", "19.1.7", "-mcpu=neoverse-v3"),
            ("generic", "gcc", "12.2.0", "-mcpu=generic"),
            ("thunderx2", "gcc", "12.2.0", "-mcpu=thunderx2t99"),
        ],
    )
    def test_a_compiler_version_gives_the_known_flag(
        self, name: str, compiler: str, version: str, flag: str
    ) -> None:
        assert one(name).flags(compiler, version) == (flag,)

    @pytest.mark.parametrize(
        ("compiler", "version", "message"),
        [
            ("gcc", "12.2.0", "gcc 12.2.0 does not support neoverse-v3 .*needs gcc 14.2 or later"),
            ("icc", "1", "no flags for compiler 'icc'.*clang, gcc, zig"),
            ("gcc", "new", "'new' is not a version number"),
        ],
    )
    def test_refusals_say_what_is_needed(self, compiler: str, version: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            one("neoverse-v3").flags(compiler, version)


class TestLookup:
    def test_every_alias_is_unique_and_no_name(self) -> None:
        aliases = [alias for target in TARGETS.values() for alias in target.aliases]
        assert len(aliases) == len(set(aliases))
        assert not set(aliases) & set(TARGETS)

    @pytest.mark.parametrize(
        ("spelling", "name"),
        [
            ("graviton3", "neoverse-v1"),
            ("Grace", "neoverse-v2"),
            ("neoverse_n1", "neoverse-n1"),
            ("altra", "neoverse-n1"),
        ],
    )
    def test_an_alias_finds_its_target(self, spelling: str, name: str) -> None:
        assert TARGETS[spelling].name == name

    def test_an_unknown_name_is_answered_with_the_nearest(self) -> None:
        with pytest.raises(ConfigError, match="no target 'gravitn3'; did you mean 'graviton3'"):
            TARGETS["gravitn3"]


class TestFaults:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"aliases": ["graviton2"]}, "alias 'graviton2' already names"),
            ({"aliases": ["generic"]}, "alias 'generic' already names generic"),
            ({"also_runs": ["neoverse-n9"]}, "also_runs: no target 'neoverse-n9'; did you mean"),
            (
                {"also_runs": ["generic", "neoverse-n1"]},
                "also_runs lists generic before neoverse-n1, which is not below it",
            ),
            ({"also_runs": ["a64fx"]}, "also_runs has a64fx, which is not below it"),
            ({"above": ["ampere1"]}, "is above ampere1 in the order, but lacks its"),
            ({"above": ["neoverse-v2"]}, "each include the other"),
            ({"parts": ["0x41:0xd0c"]}, "part 0x41:0xd0c already names neoverse-n1"),
            ({"archspec": "neoverse_n1"}, "neoverse-n1 already uses archspec's"),
            ({"archspec": "neoverse_v9"}, "archspec has no 'neoverse_v9'"),
            ({"server": "graviton2"}, "server graviton2 has part 0x41:0xd0c, which is not among its parts"),
            ({"server": "graviton2"}, "server graviton2 lacks asimdfhm, bf16"),
            ({"server": "gravitn3"}, "no server 'gravitn3'; did you mean 'graviton3'"),
            ({"alias": []}, "unknown key; did you mean 'aliases'"),
            ({"flags": {"gcc": [{"from": "9", "flags": ["-mcpu=x", "-march=y"]}]}}, "one flag family"),
            ({"flags": {"gcc": [{"from": "9", "flags": ["-march=armv8.4-a"]}]}}, "one flag family"),
            ({"flags": {"gcc": []}}, "gcc: versions must be given"),
            (
                {
                    "flags": {
                        "gcc": [{"from": "9", "flags": ["-mcpu=a"]}, {"from": "8", "flags": ["-mcpu=b"]}]
                    }
                },
                "versions must be given, and rise",
            ),
        ],
    )
    def test_a_fault_in_the_file_is_named(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            targets.load(variant(**changes), SERVERS)


class TestServers:
    def test_another_server_of_the_cpu_can_stand_in(self) -> None:
        assert one("neoverse-v2").server.name == "graviton4"
        assert one("neoverse-v2").with_server(SERVERS["axion"]).server.name == "axion"

    def test_a_server_of_another_cpu_cannot(self) -> None:
        with pytest.raises(ConfigError, match=r"server graviton2 has part 0x41:0xd0c.*\n.*lacks asimdfhm"):
            one("neoverse-v1").with_server(SERVERS["graviton2"])

    def test_a_misspelt_server_is_named(self) -> None:
        with pytest.raises(ConfigError, match="no server 'axoin'; did you mean 'axion'"):
            load_configs().emulated("neoverse-v2", "axoin")
        assert load_configs().emulated("neoverse-v2", "grace").server.name == "grace"


class TestHostFit:
    @pytest.mark.parametrize(
        ("recording", "fits"),
        RECORDINGS,
    )
    def test_recorded_machines_fit_their_target(self, recording: str, fits: str) -> None:
        fit = TARGETS.host_fit((CPUINFO / f"{recording}.txt").read_text(encoding="utf-8"))
        assert fit.target.name == fits
        assert fit.named is not None
        assert fit.named.name == fits
        assert fit.why_not(fit.target) == ()

    def test_every_recording_is_tested(self) -> None:
        tested = {recording for recording, _ in RECORDINGS}
        assert {path.stem for path in CPUINFO.glob("*.txt")} - tested == {"raspberrypi4-32bit"}

    def test_says_why_not_the_next_better(self) -> None:
        fit = TARGETS.host_fit((CPUINFO / "graviton2.txt").read_text(encoding="utf-8"))
        assert {target.name for target in fit.next_better} == {"neoverse-v1", "ampere1"}
        assert {"sve", "bf16", "i8mm"} <= set(fit.why_not(one("neoverse-v1")))

    def test_a_kernel_that_hides_features_lowers_the_fit(self) -> None:
        text = (CPUINFO / "graviton3.txt").read_text(encoding="utf-8").replace(" sve ", " ")
        fit = TARGETS.host_fit(text)
        assert (fit.target.name, fit.named and fit.named.name) == ("neoverse-n1", "neoverse-v1")
        assert fit.why_not(one("neoverse-v1")) == ("sve",)

    def test_unlike_cores_fit_what_all_of_them_have(self) -> None:
        both = "\n".join(
            (CPUINFO / f"{name}.txt").read_text(encoding="utf-8") for name in ("graviton3", "raspberrypi4")
        )
        assert TARGETS.host_fit(both).target.name == "generic"

    def test_an_unknown_part_fits_by_its_features(self) -> None:
        text = (CPUINFO / "graviton4.txt").read_text(encoding="utf-8").replace("0xd4f", "0xfff")
        fit = TARGETS.host_fit(text)
        assert fit.named is None
        assert fit.target.name == "neoverse-v2"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("processor : 0\nvendor_id : GenuineIntel\n", "not an Arm machine's.*GenuineIntel"),
            ("", "not an Arm machine's"),
            ((CPUINFO / "raspberrypi4-32bit.txt").read_text(encoding="utf-8"), "32-bit Arm machine"),
        ],
    )
    def test_refuses_what_is_not_64_bit_arm(self, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            TARGETS.host_fit(text)
