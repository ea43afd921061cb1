"""The label of a wheel: what its CPUs promise, and what the wheel's code needs."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from builder.audit import open_wheel
from builder.audit.report import judge
from builder.audit.variant import fitting_label, least
from builder.errors import AuditError
from builder.model.expectations import AllowedCode, Expectations
from builder.model.server import HWCAP, HWCAP2
from builder.model.variants import VALUES, attributes, document, guaranteed
from builder.targets import Targets
from tests.helpers.auditor import SO
from tests.helpers.elf_builder import RET, SVE_FADD, ElfFile, Function, make_wheel
from tests.helpers.recorded_decoder import RecordedDecoder
from tests.helpers.wheels import variant_wheel

NEEDS = {
    "add x0,x1,x2": "armv8.1a",
    "ldadd w0,w1,[x2]": "armv8.1a",
    "crc32b w0,w1,w2": "armv8.1a",
    "sqrdmlah v0.4s,v1.4s,v2.4s": "armv8.1a",
    "dc cvap, x0": "armv8.2a",
    "fjcvtzs w0,d1": "armv8.3a",
    "fcmla v0.4s,v1.4s,v2.4s,#0": "armv8.3a",
    "ldapr w0,[x1]": "armv8.3a",
    "retaa": "armv8.3a",
    "fadd v0.8h,v1.8h,v2.8h": "armv8.4a",
    "udot v0.4s,v1.16b,v2.16b": "armv8.4a",
    "fmlal v0.4s,v1.4h,v2.4h": "armv8.4a",
    "rmif x0,#1,#2": "armv8.4a",
    "ldapur w0,[x1,#4]": "armv8.4a",
    "msr DIT, #1": "armv8.4a",
    "fadd z0.s,z1.s,z2.s": None,
    "aese v0.16b,v1.16b": None,
    "sha256h q0,q1,v2.4s": None,
    "smmla v0.4s,v1.16b,v2.16b": None,
    "bfdot v0.4s,v1.8h,v2.8h": None,
    "eor3 v0.16b,v1.16b,v2.16b,v3.16b": None,
    "mrs x0, rndr": None,
}


@pytest.mark.parametrize(("sample", "label"), NEEDS.items())
def test_the_least_label_whose_cpus_have_the_instruction(
    cpus: Targets, decoder: RecordedDecoder, tmp_path: Path, sample: str, label: str | None
) -> None:
    elf = ElfFile(functions=[Function("f", (decoder.word(sample), RET))])
    wheel = open_wheel(make_wheel(tmp_path, {SO: elf.build()}))
    found, verdict = fitting_label(wheel, cpus["generic"], (), decoder)
    assert found == label
    assert verdict.outcome == ("pass" if label else "fail")
    if label is None:
        assert "do not run on armv8.4a" in verdict.detail


def test_code_that_is_chosen_at_run_time_does_not_count(
    cpus: Targets, decoder: RecordedDecoder, tmp_path: Path
) -> None:
    elf = ElfFile(functions=[Function("kernel_sve", (SVE_FADD, RET))])
    wheel = open_wheel(make_wheel(tmp_path, {SO: elf.build()}))
    rule = AllowedCode(member="*", symbol="kernel_sve", why="chosen by the CPU")
    assert fitting_label(wheel, cpus["generic"], (), decoder)[0] is None
    assert fitting_label(wheel, cpus["generic"], (rule,), decoder)[0] == "armv8.1a"


def test_a_wheel_without_code_has_no_label(cpus: Targets, decoder: RecordedDecoder, tmp_path: Path) -> None:
    wheel = open_wheel(make_wheel(tmp_path, {}))
    found, verdict = fitting_label(wheel, cpus["generic"], (), decoder)
    assert (found, verdict.outcome) == (None, "not-applicable")


def test_labels_promise_more_and_more_and_never_sve() -> None:
    sets = [guaranteed(label) for label in VALUES]
    assert all(lesser < better for lesser, better in itertools.pairwise(sets))
    assert sets[-1] <= {*HWCAP, *HWCAP2}
    assert not {name for name in sets[-1] if name.startswith("sve")}
    assert not {"aes", "sha2", "i8mm", "bf16"} & sets[-1]
    with pytest.raises(KeyError):
        guaranteed("armv9a")
    with pytest.raises(KeyError):
        attributes("armv9a")


def test_every_machine_of_a_label_is_one_whose_features_are_promised(cpus: Targets) -> None:
    for label in VALUES:
        target = least(label, cpus["generic"])
        assert target.features == guaranteed(label)
        assert "sve" not in target
    with pytest.raises(AuditError, match="no label of ours"):
        least("x86_64_v3", cpus["generic"])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("", ""),
        ("armv8.4a", "has the label 'armv8.2a', the file name says 'armv8.4a'"),
        ("armv8.4a", "variant.json is not that of armv8.4a"),
    ],
)
def test_the_check_of_the_passport_holds_a_variant_to_its_name(
    cpus: Targets, decoder: RecordedDecoder, tmp_path: Path, change: str, fault: str
) -> None:
    name, data = variant_wheel("armv8.2a", target="neoverse-n1")
    path = tmp_path / name.replace("armv8.2a", change or "armv8.2a")
    path.write_bytes(data)
    wheel = open_wheel(path)
    report = judge(wheel, least(wheel.label, cpus["generic"]), Expectations(), decoder)
    [verdict] = [each for each in report.verdicts if each.check == "passport"]
    assert fault in verdict.detail
    assert not [line for line in verdict.detail.splitlines() if "variant" in line or "label" in line] or fault
    assert report.target == wheel.label


def test_the_document_is_the_one_that_uv_reads() -> None:
    assert b'"$schema": "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"' in document("armv8.2a")
