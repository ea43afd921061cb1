"""Downloads by pin, from real indexes on loopback, and the Debian mirrors that apt knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.errors import ToolboxError
from builder.toolbox import fetch
from builder.toolbox.fetch import Listed, Mirror, fetch_pypi, list_pypi
from tests.helpers.simple_index import SimpleIndex, simple_index

NAME = "demo-1-py3-none-any.whl"
BYTES = b"wheel" * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def first() -> Iterator[SimpleIndex]:
    with simple_index("demo", {NAME: BYTES}) as server:
        yield server


@pytest.fixture
def second() -> Iterator[SimpleIndex]:
    with simple_index("demo", {NAME: BYTES}) as server:
        yield server


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let pip be configured with these indexes."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def set_indexes(main: SimpleIndex, *extra: SimpleIndex) -> None:
        settings = {"index-url": main.url, "extra-index-url": " ".join(index.url for index in extra)}
        monkeypatch.setattr(fetch, "pip_settings", lambda: settings)

    return set_indexes


def test_a_file_that_two_builds_want_at_once_is_fetched_once(
    first: SimpleIndex, configure: Callable[..., None], tmp_path: Path
) -> None:
    configure(first)
    first.seconds = 0.2
    target = tmp_path / NAME
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(fetch_pypi, "demo", NAME, SHA256, target) for _ in range(2)]:
            done.result()
    assert target.read_bytes() == BYTES
    assert first.asked == ["/simple/demo/", f"/files/{NAME}"]


def test_a_file_comes_from_the_first_index_that_has_the_pinned_bytes(
    first: SimpleIndex, second: SimpleIndex, configure: Callable[..., None], tmp_path: Path
) -> None:
    configure(first, second)
    first.files[NAME] = b"other"
    fetch_pypi("demo", NAME, SHA256, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == BYTES
    fetch_pypi("demo", NAME, hashlib.sha256(b"other").hexdigest(), tmp_path / "other.whl")
    assert (tmp_path / "other.whl").read_bytes() == b"other"
    assert len(second.asked) == 2  # for the first file alone


@pytest.mark.parametrize(
    ("project", "filename", "reason"),
    [
        ("unknown", NAME, "the index does not know the project"),
        ("demo", "demo-2-py3-none-any.whl", "the index does not list it"),
        ("demo", NAME, f"its sha256 is {SHA256}, pinned is {'0' * 64}"),
    ],
)
def test_a_file_that_no_index_has_is_an_error_with_the_reason_of_each(
    first: SimpleIndex,
    second: SimpleIndex,
    configure: Callable[..., None],
    tmp_path: Path,
    project: str,
    filename: str,
    reason: str,
) -> None:
    configure(second, first)
    second.refuses = True
    with pytest.raises(ToolboxError) as caught:
        fetch_pypi(project, filename, "0" * 64, tmp_path / "wanted.whl")
    assert str(caught.value).startswith(f"{filename} could not be fetched: HTTPError: 403")
    assert str(caught.value).endswith(f"; {reason}")
    assert not (tmp_path / "wanted.whl").exists()


def test_files_without_a_hash_are_not_listed(first: SimpleIndex, configure: Callable[..., None]) -> None:
    configure(first)
    first.files["demo-0-py3-none-any.whl"] = b"old"
    first.without_hash.add("demo-0-py3-none-any.whl")
    assert list_pypi("demo") == [Listed(NAME, SHA256)]


def test_all_indexes_are_listed_and_one_that_refuses_is_passed_over(
    first: SimpleIndex, second: SimpleIndex, configure: Callable[..., None]
) -> None:
    configure(first, second)
    assert list_pypi("demo") == [Listed(NAME, SHA256)] * 2
    first.refuses = True
    assert list_pypi("demo") == [Listed(NAME, SHA256)]


def test_a_project_that_no_index_knows_has_no_files(
    first: SimpleIndex, configure: Callable[..., None]
) -> None:
    configure(first)
    assert list_pypi("unknown") == []


def test_a_list_that_no_index_gives_is_an_error(
    first: SimpleIndex, second: SimpleIndex, configure: Callable[..., None]
) -> None:
    configure(first, second)
    first.refuses = True
    second.project = "something-else"
    with pytest.raises(ToolboxError, match="no index lists demo: HTTPError: 403"):
        list_pypi("demo")


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``apt-get`` that lists what stands in the file beside it."""
    program = tmp_path / "bin/apt-get"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = indextargets ] && exec cat {tmp_path}/listed\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.delenv("ARMWHEELS_DEBIAN_MIRROR", raising=False)
    return tmp_path / "listed"


def test_mirrors_are_those_of_apt_for_releases_alone(apt: Path) -> None:
    apt.write_text(
        "http://one.test/debian bookworm main\n"
        "http://one.test/debian bookworm contrib\n"
        "http://updates.test/debian bookworm-updates main\n"
        "http://security.test/debian-security bookworm main\n"
        "http://two.test/debian/ bookworm main\n"
        "http://one.test/debian/ bullseye main\n"
    )
    assert Mirror().bases == ("http://one.test/debian/", "http://two.test/debian/")


def test_a_mirror_that_is_named_is_taken_in_place_of_apts(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt.write_text("http://one.test/debian bookworm main\n")
    monkeypatch.setenv("ARMWHEELS_DEBIAN_MIRROR", "http://mirror.test/debian")
    assert Mirror().bases == ("http://mirror.test/debian/",)


def test_an_apt_without_a_mirror_says_how_to_name_one(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt.write_text("http://other.test/ubuntu noble universe\n")
    with pytest.raises(ToolboxError, match="apt names no Debian mirror; name one in ARMWHEELS_DEBIAN_MIRROR"):
        _ = Mirror().bases
    apt.unlink()  # apt-get now fails
    with pytest.raises(ToolboxError, match=r"apt does not answer .*; name a mirror in ARMWHEELS_DEBIAN"):
        _ = Mirror().bases


def test_uv_is_given_what_pip_is_configured_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "SSL_CERT_FILE", "ALL_PROXY", "UV_INSECURE_HOST"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "index-url": "https://first.test/simple/",
        "extra-index-url": "https://second.test/simple/ https://third.test/simple/",
        "cert": "/etc/own.pem",
        "proxy": "http://proxy.test:3128",
        "trusted-host": "first.test\nsecond.test",
    }
    monkeypatch.setattr(fetch, "pip_settings", lambda: settings)
    found = fetch.uv_environment()
    assert found["UV_DEFAULT_INDEX"] == "https://first.test/simple/"
    assert found["UV_INDEX"] == "https://second.test/simple/ https://third.test/simple/"
    assert found["SSL_CERT_FILE"] == "/etc/own.pem"
    assert found["ALL_PROXY"] == "http://proxy.test:3128"
    assert found["UV_INSECURE_HOST"] == "first.test second.test"
    monkeypatch.setattr(fetch, "pip_settings", dict)
    bare = fetch.uv_environment()
    assert bare["UV_SYSTEM_CERTS"] == "true"  # as pip does
    assert not {"UV_DEFAULT_INDEX", "UV_INDEX", "SSL_CERT_FILE", "ALL_PROXY"} & set(bare)
