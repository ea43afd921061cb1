"""The page about a file shows verdicts and counts, whatever was sent as evidence."""

from __future__ import annotations

import base64
import json
import math
import re

import orjson
from hypothesis import given
from hypothesis import strategies as st

from index_server.pages.chart import ratio_chart
from index_server.pages.wheel import _short, _short_seconds, wheel_page

SHA256 = "a" * 64
NAME = "numpy-2.4.6+neoverse.v1-1_4db161af-cp311-cp311-manylinux_2_28_aarch64.whl"
EMULATED = {"target": "neoverse-v1", "cpu": "max", "emulator": "qemu-user 10"}
REAL = {"target": "neoverse-v1", "cpu": "", "emulator": None, "system": "Debian 12"}


def measured(label: str, *rows: dict[str, object]) -> dict[str, object]:
    return {"wheel": {"label": label, "filename": f"{label}.whl"}, "rows": list(rows)}


def counted(workload: str, *counts: int, state: str = "ran") -> dict[str, object]:
    return {"workload": workload, "state": state, "instructions": list(counts)}


def verdict(**changes: object) -> dict[str, object]:
    report = {
        "machine": EMULATED,
        "measured": [
            measured(
                "PyPI", counted("sort", 1000, 1010), counted("exp", 4000), counted("bf16", state="failed")
            ),
            measured("neoverse.v1", counted("sort", 1690), counted("exp", 1000), counted("bf16", 7)),
        ],
    }
    body = {
        "passed": False,
        "limit": 1.02,
        "note": "",
        "faults": ["sort takes 1.67 times the instructions of PyPI"],
        "allowed": {"exp": "a <reason>"},
        "reports": [report],
    }
    return body | changes


def cells(page: str) -> dict[str, list[str]]:
    rows = re.findall(r"<tr>(<td>.*?)</tr>", page)
    found = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    return {cell[0]: cell[1:] for cell in found}


def test_counts_stand_side_by_side_with_their_ratio() -> None:
    page = wheel_page(NAME, SHA256, {"bench": verdict()}).decode()
    shown = cells(page)
    assert shown["sort"] == ["1 k", "1.69 k", '<span class="worse">1.690</span>']
    assert shown["exp"] == ["4 k", "1 k", '<span class="better">0.250</span>']
    assert shown["bf16"] == ["-", "7", ""]
    assert "<strong>Failed.</strong>" in page
    assert "sort takes 1.67 times the instructions of PyPI" in page
    assert "exp: a &lt;reason&gt;" in page
    assert "They are not time" in page


def test_each_kind_of_evidence_is_linked_with_its_outcome() -> None:
    page = wheel_page(NAME, SHA256, {"audit": {"passed": True}, "emulation": {"passed": False}, "notes": [1]})
    shown = cells(page.decode())
    assert shown == {
        f'<a href="../evidence/{SHA256}/audit">audit</a>': ["passed"],
        f'<a href="../evidence/{SHA256}/emulation">emulation</a>': ["failed"],
        f'<a href="../evidence/{SHA256}/notes">notes</a>': ["no verdict"],
    }


def row(workload: str, count: int, cycles: int, *seconds: float) -> dict[str, object]:
    """A row as counted; with ``seconds``, as measured with 1 and 64 threads."""
    if seconds:
        return {
            "workload": workload,
            "state": "ran",
            "seconds": dict(zip(("1", "64"), map(_twice, seconds), strict=True)),
        }
    return counted(workload, count) | {"cycles": {"estimated": cycles, "coverage": 0.95}}


def _twice(value: float) -> list[float]:
    return [value * 1.01, value]


COUNTED = {
    "machine": EMULATED | {"core": "LLVM 19's model of neoverse-v1"},
    "measured": [measured("PyPI", row("sort", 1000, 400)), measured("own", row("sort", 1370, 300))],
}
TIMED = {
    "machine": REAL | {"threads": [1, 2, 64]},
    "measured": [
        measured("PyPI", row("sort", 0, 0, 0.02, 0.01)),
        measured("own", row("sort", 0, 0, 0.01, 0.0005)),
    ],
}


def test_instructions_cycles_and_times_stand_side_by_side_and_have_a_ratio_each() -> None:
    evidence = {"bench": verdict(reports=[COUNTED], allowed={}), "bench-time-neoverse-v1": TIMED}
    page = wheel_page(NAME, SHA256, evidence).decode()
    assert cells(page)["sort"] == [
        *("1 k", "1.37 k", '<span class="worse">1.370</span>'),
        *("400", "300", '<span class="better">0.750</span>'),
        *("20 ms", "10 ms", '<span class="better">0.500</span>', "20.0 times"),
    ]
    heads = re.findall(r"<th colspan=(\d)>(.*?)</th>", page)
    assert heads == [("3", "instructions"), ("3", "estimated cycles"), ("4", "seconds")]
    assert "LLVM 19&#x27;s model of neoverse-v1" in page


def test_times_of_each_machine_have_columns_of_their_own() -> None:
    kinds = ("bench-time", "bench-time-neoverse-n1")
    page = wheel_page(NAME, SHA256, dict.fromkeys(kinds, TIMED)).decode()
    assert len(re.findall(r"<th colspan=4>seconds</th>", page)) == 2


def test_counts_that_the_verdict_has_are_not_shown_twice() -> None:
    evidence = {"bench": verdict(reports=[COUNTED]), "bench-instructions": COUNTED}
    page = wheel_page(NAME, SHA256, evidence).decode()
    assert page.count("instructions</th>") == 1
    other = COUNTED | {"machine": EMULATED | {"server": "graviton4"}}
    page = wheel_page(NAME, SHA256, evidence | {"bench-instructions-graviton4": other}).decode()
    assert page.count("instructions</th>") == 2


@given(value=st.floats(1e-9, 1e15))
def test_short_numbers_keep_three_digits(value: float) -> None:
    sizes = {"G": 1e9, "M": 1e6, "k": 1e3, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "": 1.0}
    for text, exact in ((_short(value), value), (_short_seconds(value), value)):
        number, _, unit = text.partition(" ")
        assert math.isclose(
            float(number) * sizes[unit], exact, rel_tol=0.006, abs_tol=0.5 * sizes[unit] * (value < 1)
        )


def test_a_report_in_another_form_is_named() -> None:
    page = wheel_page(NAME, SHA256, {"bench": {"passed": True}, "bench-time": [1]}).decode()
    assert page.count("is not in a form that can be shown") == 2


def test_a_file_without_evidence_says_so() -> None:
    assert "There is no evidence about this file." in wheel_page(NAME, SHA256, {}).decode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(body=JSON, kind=st.sampled_from(["audit", "bench", "bench-instructions", "bench-time-x"]))
def test_any_evidence_makes_a_page(body: object, kind: str) -> None:
    assert wheel_page(NAME, SHA256, {kind: body}).startswith(b"<!DOCTYPE html>")


@given(
    counts=st.lists(st.integers(-5, 2**63 - 1), max_size=3),
    limit=st.floats(allow_nan=True, allow_infinity=True),
    label=st.text(max_size=10),
    state=st.sampled_from(["ran", "failed", "<b>"]),
)
def test_any_numbers_make_a_page_without_markup_of_the_client(
    counts: list[int], limit: float, label: str, state: str
) -> None:
    body = verdict(
        limit=limit,
        reports=[
            {
                "machine": EMULATED,
                "measured": [
                    measured(label, counted("<script>", *counts, state=state)),
                    measured("own", counted("<script>", *counts)),
                ],
            }
        ],
    )
    page = wheel_page("<i>.whl", SHA256, {"bench": orjson.loads(orjson.dumps(body))}).decode()
    assert "<script>" not in page
    assert "<i>" not in page


def test_a_chart_has_a_bar_for_each_workload_the_best_first() -> None:
    chart = ratio_chart("t", [("sort", 1.69), ("exp", 0.25), ("a<b", 1.0)], good=0.98, limit=1.02)
    assert re.findall(r'text-anchor="end">([^<]*)<', chart) == ["exp", "a&lt;b", "sort"]
    assert re.findall(r"var\(--(good|dim|bad)\)", chart) == ["good", "dim", "bad"]
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', chart)]
    assert widths[0] == 70.0
    assert widths[2] == 420.0, "a bar ends at the right side of the chart"


def test_the_page_shows_the_chart_beside_the_other_wheel() -> None:
    page = wheel_page(NAME, SHA256, {"bench": verdict()}).decode()
    assert page.count("<svg") == 1
    assert "Instructions of this wheel as a ratio to those of PyPI: lower is better" in page


def test_signed_statements_are_listed_whatever_was_sent() -> None:
    def envelope(statement: object, keyid: str = "a" * 64) -> object:
        payload = base64.b64encode(json.dumps(statement).encode()).decode()
        return {"payload": payload, "payloadType": "t", "signatures": [{"keyid": keyid, "sig": ""}]}

    passed = {
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {"result": "PASSED"},
    }
    evidence = {
        "audit": {"passed": True},
        "statement-audit": envelope(passed),
        "statement-provenance": envelope(
            {"predicateType": "https://slsa.dev/provenance/v1", "predicate": {}}
        ),
        "statement-script": envelope(
            {"predicateType": "<script>", "predicate": {"result": "<b>"}}, "<script>"
        ),
        "statement-wrong": {"payload": "?", "signatures": []},
        "statement-list": [],
    }
    page = wheel_page("a.whl", "0" * 64, evidence).decode()
    assert page.count("not readable") == 2
    assert "https://slsa.dev/provenance/v1" in page
    assert "aaaaaaaa" in page
    assert "<script>" not in page
    assert "<b>" not in page
    assert "statement-audit</a>" not in page
