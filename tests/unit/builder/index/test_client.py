"""The index's client, against a transport that answers from a list."""

from __future__ import annotations

import hashlib
import zipfile
from base64 import b64encode
from pathlib import Path

import httpx2
import pytest
import tenacity

from builder.errors import PublishError
from builder.index import client as publish
from builder.index.client import ChannelState, Index, upload_fields


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "wait_exponential_jitter", lambda **_: tenacity.wait_none())


def _index(*answers: httpx2.Response | Exception) -> tuple[Index, list[httpx2.Request]]:
    asked: list[httpx2.Request] = []
    queue = list(answers)

    def handle(request: httpx2.Request) -> httpx2.Response:
        request.read()
        asked.append(request)
        answer = queue.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Index("http://index.test/", "secret", transport=httpx2.MockTransport(handle)), asked


def test_a_move_is_retried_with_the_same_nonce() -> None:
    index, asked = _index(
        httpx2.ReadError("lost"), httpx2.Response(503), httpx2.Response(201, json={"serial": 7})
    )
    assert index.move("nightly", "20261123-1", 6, "why") == 7
    assert len({request.content for request in asked}) == 1
    assert len(asked) == 3


def test_a_refusal_is_told_with_all_its_reasons_and_not_retried() -> None:
    problem = {
        "title": "refused",
        "detail": "the wheel is not whole",
        "reasons": ["RECORD lies", "two METADATA"],
    }
    index, asked = _index(httpx2.Response(400, json=problem))
    with pytest.raises(PublishError) as caught:
        index.make_snapshot("session", ChannelState(name="nightly", serial=3, snapshot=None))
    assert "the wheel is not whole" in str(caught.value)
    assert "RECORD lies" in str(caught.value)
    assert len(asked) == 1


def test_an_index_that_is_down_is_named() -> None:
    index, asked = _index(*[httpx2.ConnectError("refused")] * 6)
    with pytest.raises(PublishError, match=r"http://index\.test does not answer"):
        index.channel("nightly")
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("name", "part"),
    [("nightly?x", "nightly%3Fx"), ("../status#", "..%2Fstatus%23"), ("é%2f", "%C3%A9%252f")],
)
def test_a_name_is_one_part_of_the_path(name: str, part: str) -> None:
    index, asked = _index(*(httpx2.Response(404) for _ in range(4)))
    for ask in (
        lambda: index.channel(name),
        lambda: index.moves(name),
        lambda: index.move(name, "20261123-1", 6, "why"),
    ):
        with pytest.raises(PublishError):
            ask()
    found = f"/api/channels/{part}"
    assert [request.url.raw_path.decode() for request in asked] == [found, f"{found}/moves", f"{found}/moves"]


def test_an_unknown_build_is_none() -> None:
    index, _ = _index(httpx2.Response(404))
    assert index.find_build("0" * 64, "numpy") is None


def _wheel(folder: Path) -> Path:
    path = folder / "demo-1.0+neoverse.v1-1_abcdef01-cp311-cp311-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "demo-1.0+neoverse.v1.dist-info/METADATA",
            "Metadata-Version: 2.4\nName: demo\nVersion: 1.0+neoverse.v1\nSummary: it\n"
            "Classifier: A\nClassifier: B\nRequires-Dist: numpy>=2\n\nbody",
        )
    return path


def test_the_fields_are_those_of_the_legacy_upload_api(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path)
    fields = upload_fields(wheel)
    assert fields[":action"] == "file_upload"
    assert fields["sha256_digest"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert (fields["name"], fields["version"], fields["pyversion"]) == ("demo", "1.0+neoverse.v1", "cp311")
    assert fields["classifiers"] == ["A", "B"]
    assert fields["requires_dist"] == ["numpy>=2"]


def test_the_fields_agree_with_twines(tmp_path: Path) -> None:
    from twine.package import PackageFile

    wheel = _wheel(tmp_path)
    theirs = PackageFile.from_filename(str(wheel), None).metadata_dictionary()
    for name, value in upload_fields(wheel).items():
        if not name.startswith(":") and name not in ("protocol_version",):
            assert theirs[name] == value, name


def test_an_upload_reads_the_file_again_when_it_is_retried(tmp_path: Path) -> None:
    index, asked = _index(httpx2.Response(500), httpx2.Response(200))
    index.upload(_wheel(tmp_path), "s" * 24)
    assert len(asked) == 2
    assert all(b"PK\x03\x04" in request.content for request in asked)
    assert asked[0].url.params["session"] == "s" * 24
    assert asked[0].url.path == "/upload/"
    assert asked[0].headers["authorization"] == f"Basic {b64encode(b'__token__:secret').decode()}"


def test_a_file_is_fetched_once_and_must_match_its_hash(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(b"wheel").hexdigest()
    index, asked = _index(
        httpx2.ReadError("lost"),
        httpx2.Response(200, content=b"wheel"),
        httpx2.Response(200, content=b"other"),
    )
    path = index.fetch("demo-1.0+a.b-py3-none-any.whl", sha256, tmp_path)
    assert path.read_bytes() == b"wheel"
    assert asked[-1].url.raw_path.decode() == f"/files/{sha256}/demo-1.0%2Ba.b-py3-none-any.whl"
    assert index.fetch(path.name, sha256, tmp_path) == path
    assert len(asked) == 2
    with pytest.raises(PublishError, match="sent another file in place of demo"):
        index.fetch(path.name, "0" * 64, tmp_path)
    assert not (tmp_path / ("0" * 64) / path.name).exists()
