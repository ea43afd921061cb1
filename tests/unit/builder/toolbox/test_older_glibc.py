"""Which version of a symbol is the default in the copy of a sysroot, and what the copy leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ToolboxError
from builder.toolbox.older_glibc import lowered, with_older_glibc

HIDDEN = 0x8000
VERSIONS = {2: 17, 3: 27, 4: 29, 5: 31}


def defaults(names: list[str | None], entries: list[int]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for name, entry in zip(names, entries, strict=True):
        if name is not None and not entry & HIDDEN and entry in VERSIONS:
            found.setdefault(name, set()).add(VERSIONS[entry])
    return found


def test_the_default_moves_to_the_newest_version_that_the_older_glibc_has() -> None:
    names: list[str | None] = ["exp", "exp", "expf", "expf", None, "exp", "own"]
    entries = [2 | HIDDEN, 4, 2 | HIDDEN, 3, 4, 3 | HIDDEN, 9]
    assert lowered(names, entries, VERSIONS, 28) == {1: 4 | HIDDEN, 5: 3}
    assert lowered(names, entries, VERSIONS, 26) == {1: 4 | HIDDEN, 0: 2, 3: 3 | HIDDEN, 2: 2}
    assert lowered(names, entries, VERSIONS, 29) == {}


def test_a_symbol_that_the_older_glibc_lacks_has_no_default() -> None:
    assert lowered(["gettid"], [4], VERSIONS, 28) == {0: 4 | HIDDEN}


def test_a_symbol_for_old_programs_alone_gets_no_default() -> None:
    assert lowered(["gets", "gets"], [2 | HIDDEN, 4 | HIDDEN], VERSIONS, 28) == {}


def test_a_function_whose_arguments_changed_is_not_linked_with_the_newer_headers() -> None:
    for name in ("totalorder", "totalordermagf", "totalorderf64x"):
        assert lowered([name, name], [3 | HIDDEN, 5], VERSIONS, 28) == {1: 5 | HIDDEN}
    assert lowered(["totalorders"] * 2, [3 | HIDDEN, 5], VERSIONS, 28) == {0: 3, 1: 5 | HIDDEN}


@given(
    st.lists(
        st.tuples(st.sampled_from([None, "a", "b", "c"]), st.sampled_from([1, *VERSIONS]), st.booleans()),
        unique_by=lambda symbol: symbol[:2],
    ),
    st.integers(16, 32),
)
def test_no_default_is_newer_and_only_symbols_with_a_newer_one_change(
    symbols: list[tuple[str | None, int, bool]], minor: int
) -> None:
    names = [name for name, _, _ in symbols]
    # At most one version of a symbol is the default, as a linker makes them.
    open_names: set[str | None] = set()
    entries = []
    for name, version, hidden in symbols:
        hidden = hidden or name in open_names
        open_names |= set() if hidden else {name}
        entries.append(version | HIDDEN if hidden else version)
    changed = lowered(names, entries, VERSIONS, minor)
    after = [changed.get(index, entry) for index, entry in enumerate(entries)]
    before, now = defaults(names, entries), defaults(names, after)
    for name in before.keys() | now.keys():
        [old] = before[name]  # nothing gets a default that had none
        had = [
            VERSIONS[entry & ~HIDDEN]
            for each, entry in zip(names, entries, strict=True)
            if each == name and entry & ~HIDDEN in VERSIONS
        ]
        expected = old if old <= minor else max((one for one in had if one <= minor), default=None)
        assert now.get(name, set()) == ({expected} if expected else set())
    assert [entry & ~HIDDEN for entry in after] == [entry & ~HIDDEN for entry in entries]


def sysroot(folder: Path, features: str | None) -> Path:
    made = folder / "sysroot"
    for place in ("lib/aarch64-linux-gnu", "usr/include"):
        (made / place).mkdir(parents=True)
    (made / "lib/aarch64-linux-gnu/libc.so").write_text("GROUP ( /lib/libc.so.6 )\n")
    (made / "usr/include/math.h").write_text("double exp(double);\n")
    if features is not None:
        (made / "usr/include/features.h").write_text(features)
    return made


def test_headers_name_the_older_glibc_and_the_sysroot_keeps_its_own(tmp_path: Path) -> None:
    text = "/* __GLIBC_MINOR__ */\n#define\t__GLIBC__\t2\n#define\t__GLIBC_MINOR__\t31\n#define X 1\n"
    original = sysroot(tmp_path, text)
    copy = with_older_glibc(original, "2.28")
    assert copy.parent == original.parent
    assert copy.name.startswith("sysroot-glibc-2.28")
    features = "usr/include/features.h"
    assert (copy / features).read_text() == text.replace("31", "28")
    assert (original / features).read_text() == text
    for same in ("usr/include/math.h", "lib/aarch64-linux-gnu/libc.so"):
        assert (copy / same).samefile(original / same)
    assert with_older_glibc(original, "2.28") == copy
    assert with_older_glibc(original, "2.27") != copy


@pytest.mark.parametrize(
    ("features", "refusal"),
    [
        (None, "names no version of glibc"),
        ("#define __GLIBC__ 2\n", "names no version of glibc"),
        ("#define __GLIBC_MINOR__ 27\n", "has glibc 2.27, which cannot stand in for 2.28"),
    ],
)
def test_a_sysroot_that_cannot_show_the_older_glibc_is_refused(
    tmp_path: Path, features: str | None, refusal: str
) -> None:
    original = sysroot(tmp_path, features)
    with pytest.raises(ToolboxError, match=refusal):
        with_older_glibc(original, "2.28")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["sysroot"]
