"""Which CPU model stands in for a server, and what is said about it; running it takes an emulator."""

from __future__ import annotations

import pytest

from builder.emulation.emulate import PLUGIN_MODELS, lesser_stand_in, stand_in
from builder.emulation.environment import Shown
from builder.emulation.verify import what_it_lacks
from builder.errors import VerifyError
from builder.model.server import Server
from builder.targets import Targets


def test_the_model_of_the_cpu_stands_in_with_the_server_s_part_and_vectors(targets: Targets) -> None:
    found = stand_in(targets["neoverse-v1"])
    assert found.server.name == "graviton3"
    assert found.cpu == "neoverse-v1,midr=0x411fd401,sve-default-vector-length=32"
    assert found.vector_bits == 256
    assert found.described() == "the emulator's own model of this CPU; programs see AWS Graviton3 (C7g)"


def test_another_cpu_s_model_stands_in_where_it_has_the_same_instructions(targets: Targets) -> None:
    found = stand_in(targets["neoverse-v2"])
    assert found.cpu == "neoverse-n2,midr=0x410fd4f0,sve-default-vector-length=16"
    assert found.described(["ssbs", "dgh"]).startswith("the emulator's model neoverse-n2, the nearest to")
    assert found.described(["ssbs", "dgh"]).endswith("Graviton4 without dgh ssbs, which the emulator lacks")


def test_the_superset_stands_in_where_there_is_no_model(targets: Targets) -> None:
    assert stand_in(targets["thunderx2"]).cpu == "max,midr=0x431f0af1,sme=off,sve=off,pauth=off"
    assert stand_in(targets["ampere1"]).cpu == "max,midr=0xc00fac31,sme=off,sve=off"
    older = stand_in(targets["neoverse-v1"], models=PLUGIN_MODELS)
    assert older.cpu == "max,midr=0x411fd401,sve-default-vector-length=32,sme=off"
    assert "no model of this CPU" in older.note


def test_the_part_number_is_always_given_and_the_vector_length_with_sve(targets: Targets) -> None:
    for target in targets.values():
        for models in (None, PLUGIN_MODELS):
            found = stand_in(target, models=models)
            assert f"midr=0x{target.server.midr:08x}" in found.cpu
            assert ("sve-default-vector-length=" in found.cpu) == ("sve" in target)


def test_the_lesser_cpu_has_another_model(targets: Targets) -> None:
    lesser = {name: lesser_stand_in(target, targets) for name, target in targets.items()}
    assert {name: found and found[0].name for name, found in lesser.items()} == {
        "generic": None,
        "thunderx2": "generic",
        "a64fx": "generic",
        "neoverse-n1": "generic",
        "ampere1": "neoverse-n1",
        "ampere1a": "neoverse-n1",
        "ampere1b": "neoverse-n1",
        "neoverse-v1": "neoverse-n1",
        "neoverse-n2": "neoverse-v1",
        "neoverse-n3": "neoverse-v1",
        "neoverse-v2": "neoverse-v1",
        "neoverse-v3": "neoverse-v2",
    }


def shown(server: Server, **changes: object) -> Shown:
    """What a program sees of a perfect stand-in with two processors, with changes."""
    seen = {
        "getauxval": server.hwcap,
        "auxv": server.hwcap,
        "cpuinfo": server.cpuinfo(2),
        "midr": (server.midr,),
        "vector_bits": 256,
    }
    return Shown.model_validate({**seen, **changes})


class TestWhatItLacks:
    def test_a_perfect_stand_in_lacks_nothing(self, targets: Targets) -> None:
        found = stand_in(targets["graviton3"])
        assert what_it_lacks(found, shown(found.server)) == ()

    def test_features_that_the_emulator_does_not_have_are_listed(self, targets: Targets) -> None:
        found = stand_in(targets["graviton3"])
        hwcap, hwcap2 = found.server.hwcap
        fewer = (hwcap & ~(1 << 28), hwcap2 & ~(1 << 15))
        assert what_it_lacks(found, shown(found.server, getauxval=fewer, auxv=fewer)) == ("dgh", "ssbs")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"getauxval": (3, 2), "auxv": (3, 2)}, "features sve2, which it has not"),
            ({"auxv": (3, 2)}, "/proc/self/auxv has"),
            ({"cpuinfo": "processor\t: 0\n"}, "another /proc/cpuinfo"),
            ({"midr": (0x410FD0C1,)}, "part numbers 0x410fd0c1"),
            ({"midr": ()}, "part numbers"),
            ({"vector_bits": 512}, "vectors of 512 bits"),
        ],
    )
    def test_a_program_that_would_see_another_machine_is_an_error(
        self, targets: Targets, changes: dict[str, object], message: str
    ) -> None:
        found = stand_in(targets["graviton3"])
        with pytest.raises(VerifyError, match=f"the stand-in for graviton3 shows .*{message}"):
            what_it_lacks(found, shown(found.server, **changes))
