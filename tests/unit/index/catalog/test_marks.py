"""Yanks (PEP 592) and quarantines (PEP 792): what entries amount to, and what pages show of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index_server.catalog.catalog import Catalog
from index_server.catalog.recording import record_key
from index_server.errors import ConflictError, NotFoundError
from index_server.model import GENESIS, StatusEntry
from index_server.pages.negotiation import HTML, JSON
from index_server.pages.simple import project_page
from index_server.rules.marks import NONE, ProjectMarks, fold
from tests.helpers.records import make_record
from tests.helpers.stores import DyingStore, MemoryStore

FILES = ["a.whl", "b.whl"]
actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["yank", "unyank", "quarantine", "release"]), st.sampled_from(FILES)),
        st.tuples(st.sampled_from(["quarantine", "release"]), st.none()),
    ),
    max_size=12,
)


def journal(steps: list[tuple[str, str | None]]) -> list[StatusEntry]:
    return [
        StatusEntry(
            serial=serial, kind=kind, project="demo", filename=filename, reason=f"why {serial}",
            previous_hash=GENESIS, nonce=str(serial), at="now", by="x",
        )
        for serial, (kind, filename) in enumerate(steps, 1)
    ]  # fmt: skip


@given(actions)
def test_the_last_word_on_each_thing_counts(steps: list[tuple[str, str | None]]) -> None:
    marks = fold(journal(steps)).of("demo")
    last: dict[tuple[str, str | None], str | None] = {}
    for serial, (kind, filename) in enumerate(steps, 1):
        group = "yank" if "yank" in kind else "quarantine"
        last[group, filename] = f"why {serial}" if kind == group else None
    for name in FILES:
        assert marks.yank_reason(name) == last.get(("yank", name))
        whole = last.get(("quarantine", None))
        assert marks.quarantine_reason(name) == (whole or last.get(("quarantine", name)))
    assert hash(marks) == hash(fold(journal(steps)).of("demo"))


@given(actions)
def test_undoing_everything_leaves_nothing(steps: list[tuple[str, str | None]]) -> None:
    undone = [
        *steps,
        *(("unyank", name) for name in FILES),
        *(("release", name) for name in [*FILES, None]),
    ]
    marks = fold(journal(undone))
    assert marks.of("demo") == NONE
    assert marks.projects == {}


def test_a_yank_stands_on_both_pages() -> None:
    record = make_record()
    marks = ProjectMarks(yanked=((record.filename, 'wrong "sums" <b>'),))
    page, plain = project_page("demo", [record], marks), project_page("demo", [record])
    file = json.loads(page.form(JSON, "identity").body)["files"][0]
    assert file["yanked"] == 'wrong "sums" <b>'
    assert b'data-yanked="wrong &quot;sums&quot; &lt;b&gt;"' in page.form(HTML, "identity").body
    assert page.form(JSON, "identity").etag != plain.form(JSON, "identity").etag
    assert page.form(HTML, "gzip").etag != plain.form(HTML, "gzip").etag


def test_a_project_under_quarantine_says_so_and_offers_nothing() -> None:
    marks = ProjectMarks(project="stolen <key>")
    assert marks.offered([make_record()]) == []
    page = project_page("demo", [], marks)
    data = json.loads(page.form(JSON, "identity").body)
    assert data["project-status"] == {"status": "quarantined", "reason": "stolen <key>"}
    assert (data["files"], data["versions"]) == ([], [])
    html = page.form(HTML, "identity").body
    assert b'<meta name="pypi:project-status" content="quarantined">' in html
    assert b'<meta name="pypi:project-status-reason" content="stolen &lt;key&gt;">' in html


@pytest.fixture
def store() -> DyingStore:
    return DyingStore(MemoryStore())


@pytest.fixture
def catalog(store: DyingStore) -> Catalog:
    record = make_record()
    store.create(record_key(record.project, record.filename), record.encode())
    return Catalog(store, {"nightly": ""})


def yank(catalog: Catalog, nonce: str, kind: str = "yank", reason: str = "bad") -> tuple[StatusEntry, bool]:
    return catalog.status.mark(
        kind, project="demo", filename=make_record().filename, reason=reason, by="ann", nonce=nonce
    )


def test_entries_are_written_once_and_chained(catalog: Catalog) -> None:
    first, written = yank(catalog, "1")
    assert (first.serial, first.by, written) == (1, "ann", True)
    assert yank(catalog, "1") == (first, True)  # a lost answer
    assert yank(catalog, "2") == (first, False)  # nothing new
    second, _ = yank(catalog, "3", reason="worse")
    assert (second.serial, second.previous_hash != GENESIS) == (2, True)
    with pytest.raises(ConflictError, match="nonce was used for entry 1"):
        yank(catalog, "1", reason="other")
    with pytest.raises(ConflictError, match="is not under quarantine"):
        yank(catalog, "4", kind="release")
    assert yank(catalog, "5", kind="unyank")[0].serial == 3
    assert yank(catalog, "6", kind="unyank")[1] is False
    with pytest.raises(NotFoundError, match="has no"):
        catalog.status.mark("quarantine", project="none", filename=None, reason="x", by="x", nonce="7")


def test_a_rival_entry_is_stepped_over(store: DyingStore, catalog: Catalog) -> None:
    rival = Catalog(store.inner, {"nightly": ""})
    store.rival_prefix = "journal/_status/"
    store.rival = lambda: yank(rival, "theirs", reason="theirs")
    mine, written = yank(catalog, "mine", reason="mine")
    assert (mine.serial, written) == (2, True)
    assert [entry.reason for entry in rival.status.journal.entries()] == ["theirs", "mine"]
    assert dict(rival.status.marks().of("demo").yanked) == {make_record().filename: "mine"}
