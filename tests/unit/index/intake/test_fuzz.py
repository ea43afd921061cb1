"""Whatever stands in the files of a wheel, reading it gives facts or bounded reasons, and raises nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from index_server.intake.wheel import read_wheel
from index_server.names import parse_name
from index_server.reasons import MAX_REASON, MAX_REASONS
from index_server.settings import Settings
from tests.helpers.archives import NAME
from tests.helpers.wheels import pack, wheel_files

INFO = "demo-1.0.dist-info"
FIELDS = (
    "Version",
    "Requires-Python",
    "Requires-Dist",
    "License-Expression",
    "Description-Content-Type",
    "Keywords",
)
PIECES = st.sampled_from(
    [
        "9" * 5000,
        "(" * 60,
        ")",
        ";",
        ",",
        '"',
        "'",
        "=",
        "==1.0",
        ">=3",
        " and ",
        "text/plain",
        "MIT",
        "\n",
        "\r",
        ":",
    ]
)
VALUES = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=8).map("".join))
HEADERS = st.lists(
    st.tuples(st.one_of(st.sampled_from(FIELDS), st.text(max_size=12)), VALUES), max_size=8
).map(lambda fields: "".join(f"{name}: {value}\n" for name, value in fields).encode("utf-8", "surrogatepass"))
METADATA = HEADERS.map(lambda more: b"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n" + more)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
)


@pytest.mark.parametrize("mirrored", [False, True])
@hypothesis_settings(max_examples=60, deadline=None)
@given(
    member=st.one_of(
        st.tuples(st.just("METADATA"), st.one_of(METADATA, st.binary(max_size=300))),
        st.tuples(st.just("WHEEL"), st.one_of(HEADERS, st.binary(max_size=300))),
        st.tuples(st.just("RECORD"), st.binary(max_size=300)),
        st.tuples(
            st.just("armwheels.json"),
            JSON.map(lambda data: repr(data).replace("'", '"').encode("utf-8", "replace")),
        ),
    )
)
def test_any_content_gives_facts_or_reasons(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, mirrored: bool, member: tuple[str, bytes]
) -> None:
    name, data = member
    path = tmp_path_factory.getbasetemp() / "fuzzed.whl"
    path.write_bytes(pack({**wheel_files(NAME), f"{INFO}/{name}": data}))
    wheel = read_wheel(path, parse_name(NAME), settings.targets, settings.passport, mirrored=mirrored)
    lines = list(wheel.faults)
    assert lines or wheel.facts is not None
    assert len(lines) <= MAX_REASONS
    assert all(len(line) <= MAX_REASON for line in lines)
