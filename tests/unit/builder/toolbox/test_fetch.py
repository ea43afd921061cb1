"""Downloads by pin, with the index played by a function."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from pypi_simple import NoSuchProjectError

from builder.errors import ToolboxError
from builder.toolbox import fetch

BYTES = b"wheel" * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()


def test_a_file_that_two_builds_want_at_once_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def download(index: str | None, project: str, filename: str, target: Path) -> None:
        calls.append(filename)
        target.write_bytes(BYTES[:100])
        time.sleep(0.2)
        target.write_bytes(BYTES)

    monkeypatch.setattr(fetch, "pip_indexes", lambda: (None,))
    monkeypatch.setattr(fetch, "_download_pypi", download)
    target = tmp_path / "demo.whl"
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(fetch.fetch_pypi, "demo", "demo.whl", SHA256, target) for _ in range(2)]:
            done.result()
    assert target.read_bytes() == BYTES
    assert calls == ["demo.whl"]


def test_every_index_is_asked_and_every_reason_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(index: str | None, project: str, filename: str, target: Path) -> None:
        if index is None:
            raise ToolboxError("the index does not know the project")
        target.write_bytes(b"other")

    monkeypatch.setattr(fetch, "pip_indexes", lambda: (None, "http://second.test/simple"))
    monkeypatch.setattr(fetch, "_download_pypi", download)
    with pytest.raises(ToolboxError, match=r"does not know the project; its sha256 is .*, pinned is"):
        fetch.fetch_pypi("demo", "demo.whl", SHA256, tmp_path / "demo.whl")
    assert [path.name for path in tmp_path.iterdir()] == ["demo.whl.lock"]


def test_files_without_a_hash_are_not_listed_and_a_silent_index_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Client:
        def __init__(self, endpoint: str = "default", **_: object) -> None:
            self.endpoint = endpoint

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def get_project_page(self, project: str) -> SimpleNamespace:
            if "silent" in self.endpoint:
                raise requests.ConnectionError("no answer")
            if "second" in self.endpoint:
                raise NoSuchProjectError(project, self.endpoint)
            with_hash = SimpleNamespace(filename="demo-1.whl", digests={"sha256": SHA256})
            return SimpleNamespace(packages=[with_hash, SimpleNamespace(filename="old.whl", digests={})])

    monkeypatch.setattr(fetch, "PyPISimple", Client)
    silent, second = "http://silent.test/simple", "http://second.test/simple"
    monkeypatch.setattr(fetch, "pip_indexes", lambda: (silent, second, None))
    assert fetch.list_pypi("demo") == [fetch.Listed("demo-1.whl", SHA256)]
    monkeypatch.setattr(fetch, "pip_indexes", lambda: (second,))
    assert fetch.list_pypi("demo") == []
    monkeypatch.setattr(fetch, "pip_indexes", lambda: (silent, second))
    with pytest.raises(ToolboxError, match=r"no index lists demo: ConnectionError: no answer"):
        fetch.list_pypi("demo")
