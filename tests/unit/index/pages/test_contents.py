"""What a wheel's page says of the wheel's own passport, SBOMs and licences."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index_server.pages.contents import Component, Contents, read_contents, sections
from index_server.pages.measured import speed
from tests.helpers.wheels import make_passport, make_wheel, tuned_wheel
from tests.unit.index.pages.test_wheel import counted, measured, verdict

NAME = "demo-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"
INFO = "demo-1.0.dist-info"


class Stored:
    """A stored wheel that counts the bytes that are read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes_read = 0

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        self.bytes_read += stop - start
        assert 0 <= start < stop <= len(self.data)
        yield self.data[start : (start + stop) // 2]
        yield self.data[(start + stop) // 2 : stop]


def contents(data: bytes) -> Contents:
    return read_contents(len(data), Stored(data).read)


def sbom(*components: object) -> bytes:
    return json.dumps({"bomFormat": "CycloneDX", "components": list(components)}).encode()


def wheel(**files: bytes) -> bytes:
    return make_wheel(NAME, files={f"{INFO}/{name}": data for name, data in files.items()})


def shown(found: Contents) -> str:
    return "\n".join(sections(found))


def test_a_passport_is_shown_with_flags_and_source() -> None:
    _, data = tuned_wheel()
    found = contents(data)
    assert found.passport == make_passport()
    page = shown(found)
    assert "demo-1.0-cp311-neoverse-v1-none" in page
    assert "The wheel has no SBOM." in page


def test_components_and_their_licences() -> None:
    openblas = {"name": "openblas", "version": "0.3.30", "licenses": [{"expression": "BSD-3-Clause"}]}
    twice = {"name": "libgomp", "version": "12", "licenses": [{"license": {"id": "GPL-3.0-or-later"}}]}
    named = {"name": "<x>", "licenses": [{"license": {"name": "own"}}, {"expression": "MIT"}]}
    found = contents(
        wheel(**{"sboms/one.cdx.json": sbom(openblas, twice, twice), "sboms/two.cdx.json": sbom(named)})
    )
    assert found.components == (
        Component("openblas", "0.3.30", "BSD-3-Clause"),
        Component("libgomp", "12", "GPL-3.0-or-later"),
        Component("<x>", "", "own AND MIT"),
    )
    page = shown(found)
    assert "&lt;x&gt;" in page
    assert "<x>" not in page
    assert f"{INFO}/sboms/two.cdx.json" in page


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b'{"components": 3}', sbom(3, {}, {"name": 3}), b'{"components": [null]}']
)
def test_an_sbom_of_another_form_shows_nothing(document: bytes) -> None:
    found = contents(wheel(**{"sboms/x.json": document}))
    assert (found.components, len(found.sboms)) == ((), 1)
    assert "names no library" in shown(found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["components", "name", "version", "licenses", "license", "id", "expression"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_sbom_breaks_the_page(document: Any) -> None:
    assert shown(contents(wheel(**{"sboms/x.json": json.dumps(document).encode()})))


def test_licences_are_those_that_the_wheel_has() -> None:
    metadata = (
        b"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nLicense-Expression: MIT\n"
        b"License-File: LICENSE\nLicense-File: gone.txt\n\n"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{INFO}/METADATA", metadata)
        archive.writestr(f"{INFO}/licenses/LICENSE", b"text")
    found = contents(buffer.getvalue())
    assert (found.licence, found.licences) == ("MIT", ("LICENSE",))


def test_of_a_large_wheel_little_is_read() -> None:
    data = make_wheel(NAME, files={"demo/data": bytes(range(256)) * 40_000, f"{INFO}/sboms/x.json": sbom()})
    stored = Stored(data)
    read_contents(len(data), stored.read)
    assert stored.bytes_read < len(data) / 4


def test_speed_beside_the_wheel_before() -> None:
    before = verdict()
    after = verdict(
        reports=[
            {
                "machine": verdict()["reports"][0]["machine"],  # type: ignore[index]
                "measured": [measured("x", counted("sort", 845), counted("exp", 1100), counted("new", 5))],
            }
        ]
    )
    found = speed(after, before)
    assert found is not None
    assert (found.workload, found.workloads, found.style) == ("exp", 2, "worse")
    assert found.worst == pytest.approx(1.1)
    assert found.mean == pytest.approx((0.5 * 1.1) ** 0.5)
    same = speed(before, before)
    assert same is not None
    assert (same.mean, same.style) == (1.0, "")
    assert speed(after, None) is None
    assert speed({"passed": True}, before) is None
