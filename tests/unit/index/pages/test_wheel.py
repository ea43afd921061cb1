"""The page about a file shows verdicts and counts, whatever was sent as evidence."""

from __future__ import annotations

import re

import orjson
from hypothesis import given
from hypothesis import strategies as st

from index_server.pages.wheel import wheel_page

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
    assert shown["sort"] == ["1,000", "1,690", '<span class="worse">1.690</span>']
    assert shown["exp"] == ["4,000", "1,000", '<span class="better">0.250</span>']
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


def test_times_are_never_in_the_table_of_instructions() -> None:
    row = {"workload": "sort", "state": "ran", "seconds": {"1": [0.0125, 0.0121], "4": [0.004]}}
    times = {"machine": REAL, "measured": [measured("own", row)]}
    page = wheel_page(NAME, SHA256, {"bench": verdict(), "bench-time": times}).decode()
    before, after = page.split("<h2>Measured on a real machine</h2>")
    assert "0.0121 s" in after
    assert "0.0121" not in before
    assert "1,690" not in after
    assert "Seconds of one call" in after


def test_a_file_without_evidence_says_so() -> None:
    assert "There is no evidence about this file." in wheel_page(NAME, SHA256, {}).decode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(body=JSON, kind=st.sampled_from(["audit", "bench", "bench-instructions", "bench-time"]))
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
