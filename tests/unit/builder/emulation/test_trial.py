"""Which modules a trial imports, and what it says of the audit."""

from __future__ import annotations

import pytest

from builder.audit import AuditReport, Verdict
from builder.emulation.trial import Death, Trial, judged, modules_of
from builder.targets import Targets

SO = "m/_fast.cpython-313-aarch64-linux-gnu.so"
PLACE = {
    "rank": "import",
    "member": SO,
    "function": "start",
    "address": "0x1000",
    "extension": "lse",
    "count": 1,
    "caller": "the loader, as a constructor",
    "library": None,
    "fails": True,
}


def report(*places: dict[str, object]) -> AuditReport:
    verdict = Verdict(check="instructions", outcome="pass", detail="", data={"places": list(places)})
    return AuditReport(
        filename="m-1.0-cp313-cp313-manylinux_2_28_aarch64.whl",
        sha256="ab" * 32,
        size=1,
        target="generic",
        passed=True,
        verdicts=(verdict,),
    )


def trial(*deaths: Death, imported: tuple[str, ...] = ("m",), **more: object) -> Trial:
    values = {"python": "cp313", "cpu": "cortex-a57,midr=1", "note": "", "refused": (), **more}
    return Trial.model_validate({**values, "imported": imported, "deaths": deaths})


@pytest.mark.parametrize(
    ("names", "modules"),
    [
        (["m/__init__.py", "m/a.py", "m-1.0.dist-info/WHEEL"], ("m",)),
        (["single.py", "m.libs/liba.so"], ("single",)),
        (["m/__init__.py", SO, "m/lib/libc10.so"], ("m", "m._fast")),
        (["_top.abi3.so"], ("_top",)),
        (["m-1.0.data/platlib/m/__init__.py", f"m-1.0.data/platlib/{SO}"], ("m", "m._fast")),
        (["m-1.0.data/scripts/tool", "m-1.0.data/scripts/x.py"], ()),
        (["not-a-name/__init__.py", "m/test-data.so"], ()),
    ],
)
def test_modules_are_those_at_the_top_and_the_compiled_ones(
    names: list[str], modules: tuple[str, ...]
) -> None:
    compiled = {name for name in names if name.endswith(".so") and "lib" not in name.split("/")[-1][:3]}
    assert modules_of(names, compiled) == modules


def test_a_death_where_the_audit_expects_one(targets: Targets) -> None:
    death = Death(module="m._fast", file=SO, address=0x1000, word=0xB8200041)
    verdict = judged(report(PLACE), trial(death, imported=()), targets["generic"])
    assert verdict.outcome == "fail"
    assert "import m._fast: 0xb8200041 at 0x1000 of m/_fast" in verdict.detail
    assert "start (lse), which the audit ranks as import" in verdict.detail


def test_a_death_that_the_audit_did_not_name_says_so(targets: Targets) -> None:
    death = Death(module="m", file="other.so", address=0x10, word=1)
    verdict = judged(report(PLACE), trial(death), targets["generic"])
    assert "which the audit did not name" in verdict.detail


def test_one_place_that_ends_several_imports_is_told_once(targets: Targets) -> None:
    deaths = [Death(module=name, file=SO, address=0x1000, word=1) for name in ("m", "m._fast")]
    verdict = judged(report(PLACE), trial(*deaths, imported=()), targets["generic"])
    assert verdict.detail.count("0x1000 of") == 1
    assert "import m:" in verdict.detail


def test_imports_that_agree(targets: Targets) -> None:
    verdict = judged(report(), trial(), targets["generic"])
    assert (verdict.outcome, verdict.detail) == (
        "pass",
        "1 module imported on cortex-a57, as the audit expects",
    )


def test_imports_that_refute_the_audit(targets: Targets) -> None:
    verdict = judged(report(PLACE), trial(), targets["generic"])
    assert verdict.outcome == "pass"
    assert f"none ran {SO}: start, which the audit expected at import" in verdict.detail


def test_an_emulator_without_a_model_decides_nothing(targets: Targets) -> None:
    without = next(one for one in targets.values() if one.emulator is None)
    assert judged(report(), trial(), without).outcome == "not-applicable"


def test_refused_imports_are_counted_and_the_first_is_told(targets: Targets) -> None:
    verdict = judged(
        report(), trial(imported=(), refused=(("m", "ImportError: no PIL"),)), targets["generic"]
    )
    assert verdict.outcome == "not-applicable"
    assert "1 refused (m: ImportError: no PIL)" in verdict.detail
