"""What S3 alone can do to a store: lost answers, ignored conditions, parts, broken downloads, silence."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from botocore.response import StreamingBody
from moto.core.botocore_stubber import MockRawResponse

from index_server.errors import (
    ConfigError,
    MissingObjectError,
    NoSpaceError,
    StoreAwayError,
    StoreError,
    UnsafeStoreError,
)
from index_server.store import bucket as s3
from index_server.store.address import open_store
from index_server.store.bucket import S3Store
from scripts.seaweed import BUCKET
from tests.helpers.stores import ObjectStore

SMALL_PART = 100_000  # bytes; moto is told to take parts so small
LARGE = os.urandom(250_000)


@pytest.fixture
def store(make_store: Callable[[str], ObjectStore], monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setattr(s3, "PART", SMALL_PART)
    monkeypatch.setattr(s3, "STREAMED", SMALL_PART // 2)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", SMALL_PART)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    made = make_store("moto")
    assert isinstance(made, S3Store)
    return made


Act = Callable[[AWSRequest, Callable[[], object]], AWSResponse | None]


def before(store: S3Store, operation: str, act: Act) -> None:
    """Let ``act`` have the next request of an operation, and a way to send it, and then no other."""
    events = store.client.meta.events
    name = f"before-send.s3.{operation}"

    def once(request: AWSRequest, **_: Any) -> AWSResponse | None:
        events.unregister(name, once)
        return act(request, lambda: events.emit(name, request=request))

    events.register_first(name, once)


def lose(request: AWSRequest, send: Callable[[], object]) -> None:
    """The request is carried out, and its answer is lost."""
    send()
    raise ConnectionClosedError(endpoint_url=request.url)


def answer(status: int, code: str) -> Act:
    def act(request: AWSRequest, _: Callable[[], object]) -> AWSResponse:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        return AWSResponse(request.url, status, {"content-type": "application/xml"}, MockRawResponse(body))

    return act


def write(store: S3Store, key: str, data: bytes) -> bool:
    with store.scratch() as path:
        path.write_bytes(data)
        return store.create_from(key, path)


def uploads(store: S3Store) -> list[Any]:
    return list(store.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))


# Lost answers


def test_a_put_meets_its_own_first_write(store: S3Store) -> None:
    before(store, "PutObject", lose)
    assert store.create("journal/a/1.json", b"mine")
    assert store.get("journal/a/1.json") == b"mine"


def test_a_put_that_was_lost_meets_the_write_of_another(store: S3Store) -> None:
    def overtaken(request: AWSRequest, _: Callable[[], object]) -> None:
        assert store.create("journal/a/1.json", b"same bytes")
        raise ConnectionClosedError(endpoint_url=request.url)

    before(store, "PutObject", overtaken)
    assert not store.create("journal/a/1.json", b"same bytes")


def test_a_multipart_upload_meets_its_own_completion(store: S3Store) -> None:
    before(store, "CompleteMultipartUpload", lose)
    assert write(store, "files/f", LARGE)
    assert store.get("files/f") == LARGE
    assert uploads(store) == []


def test_the_store_is_busy_with_the_same_key(store: S3Store) -> None:
    before(store, "PutObject", answer(409, "ConditionalRequestConflict"))
    assert store.create("journal/a/1.json", b"mine")


# Parts


def test_a_large_file_goes_out_in_parts(store: S3Store) -> None:
    assert write(store, "files/f", LARGE)
    assert store.client.head_object(Bucket=BUCKET, Key="some/prefix/files/f")["ETag"].endswith('-3"')
    assert b"".join(store.read("files/f", 0, len(LARGE))) == LARGE
    assert not write(store, "files/f", LARGE[:-1])


def test_of_two_large_writers_one_wins(store: S3Store) -> None:
    def overtaken(request: AWSRequest, _: Callable[[], object]) -> None:
        assert write(store, "files/f", LARGE)

    before(store, "CompleteMultipartUpload", overtaken)
    assert not write(store, "files/f", LARGE[:-1])
    assert store.get("files/f") == LARGE
    assert uploads(store) == []


def test_a_part_that_fails_leaves_nothing(store: S3Store) -> None:
    before(store, "UploadPart", answer(403, "AccessDenied"))
    with pytest.raises(StoreError, match="AccessDenied"):
        write(store, "files/f", LARGE)
    assert uploads(store) == []
    assert store.size("files/f") is None


def test_abandoned_uploads_are_aborted_and_living_ones_spared(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.client.create_multipart_upload(Bucket=BUCKET, Key="some/prefix/files/f")
    store.client.create_multipart_upload(Bucket=BUCKET, Key="elsewhere/files/f")
    begun = uploads(store)[0]["Initiated"]
    monkeypatch.setattr(s3, "ABANDONED", datetime.now(UTC) - begun + timedelta(hours=1))
    store.sweep()
    assert len(uploads(store)) == 2
    monkeypatch.setattr(s3, "ABANDONED", datetime.now(UTC) - begun - timedelta(hours=1))
    store.sweep()
    assert [upload["Key"] for upload in uploads(store)] == ["elsewhere/files/f"]


# Downloads


@pytest.mark.parametrize("whole", [True, False])
def test_a_download_goes_on_where_it_broke(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    write(store, "files/f", LARGE)
    left = [2, 1]
    honest = StreamingBody.read

    def breaking(body: StreamingBody, amt: int) -> bytes:
        if left and left[-1] == 0:
            left.pop()
            raise ReadTimeoutError(endpoint_url="")
        if left:
            left[-1] -= 1
        return honest(body, amt)

    monkeypatch.setattr(StreamingBody, "read", breaking)
    if whole:
        assert store.get("files/f") == LARGE
    else:
        assert b"".join(store.read("files/f", 17, len(LARGE) - 3)) == LARGE[17:-3]
    assert left == []


def test_a_download_that_keeps_breaking_ends(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(body: StreamingBody, amt: int) -> bytes:
        raise ReadTimeoutError(endpoint_url="")

    store.create("files/f", b"1")
    monkeypatch.setattr(StreamingBody, "read", breaking)
    with pytest.raises(StoreAwayError):
        store.get("files/f")


def test_bytes_that_changed_on_the_way_are_no_object(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("records/r", b"12345")
    honest = StreamingBody.read
    monkeypatch.setattr(StreamingBody, "read", lambda body, amt: honest(body, amt).replace(b"3", b"4"))
    with pytest.raises(StoreError, match="differ from those that were written"):
        store.get("records/r")


# Opening


@pytest.mark.parametrize(
    ("operation", "header", "message"),
    [
        ("PutObject", "If-None-Match", "ignores If-None-Match when an object is put"),
        ("CompleteMultipartUpload", "If-None-Match", "when a multipart upload is completed"),
        ("PutObject", "If-Match", "ignores If-Match"),
    ],
)
def test_a_store_that_ignores_conditions_is_refused(
    store: S3Store, operation: str, header: str, message: str
) -> None:
    def ignore(request: AWSRequest, **_: Any) -> None:
        del request.headers[header]

    store.client.meta.events.register(f"before-sign.s3.{operation}", ignore)
    with pytest.raises(UnsafeStoreError, match="two publishers could overwrite") as caught:
        store.probe()
    assert message in str(caught.value)
    assert caught.value.exit_code == 6
    assert list(store.keys("probe/")) == []


def test_a_store_that_honours_them_is_taken(store: S3Store) -> None:
    store.probe()
    assert list(store.keys("probe/")) == []
    assert uploads(store) == []


def test_an_address_opens_a_bucket_or_says_why_not(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMWHEELS_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    opened = open_store(f"s3://{BUCKET}/some/prefix/")
    assert opened.create("records/a", b"1")
    assert list(store.keys("records/")) == ["records/a"]
    assert list(open_store(f"s3://{BUCKET}").keys("some/prefix/records/")) == ["some/prefix/records/a"]
    for address, reason in (
        ("s3://", "is not a store address"),
        ("s3:bucket", "is not a store address"),
        ("s3://none-such", "there is no bucket none-such"),
        (f"s3://{BUCKET}/a//b", "is not a valid key"),
        ("s3://NO_BUCKET!/", "cannot be opened|Invalid bucket name"),
    ):
        with pytest.raises(StoreError, match=reason):
            open_store(address)
    monkeypatch.setenv("ARMWHEELS_S3_ENDPOINT", "localhost:8333")
    with pytest.raises(ConfigError, match="write http://"):
        open_store(f"s3://{BUCKET}")


# Failures


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", StoreAwayError),
        (500, "InternalError", StoreAwayError),
        (403, "AccessDenied", StoreError),
        (507, "XMinioStorageFull", NoSpaceError),
    ],
)
def test_each_answer_of_s3_is_an_error_of_its_kind(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[Exception]
) -> None:
    store.client.meta.events.register_first(
        "before-send.s3", lambda request, **_: answer(status, code)(request, list)
    )
    for act in (
        lambda: store.create("a", b""),
        lambda: store.put_hint("a", b""),
        lambda: store.get("a"),
        lambda: list(store.keys("a/")),
        lambda: store.remove("a"),
    ):
        with pytest.raises(kind) as caught:
            act()
        assert not isinstance(caught.value, MissingObjectError)


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"<html><br>Log in", b""])
def test_what_answers_everything_is_neither_an_object_nor_an_empty_store(store: S3Store, body: bytes) -> None:
    """As a proxy's login page does: status 200, and nothing of S3."""
    assert store.create("journal/a/1.json", b"mine")
    s3.prepare(store.client)

    def stranger(request: AWSRequest, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, 200, {"content-type": "text/html"}, MockRawResponse(body))

    events = store.client.meta.events
    events.register_first("before-send.s3", stranger)
    for act in (
        lambda: store.create("a", b""),
        lambda: write(store, "files/f", LARGE),
        lambda: store.put_hint("a", b""),
        lambda: store.get("a"),
        lambda: store.size("a"),
        lambda: store.version("a"),
        lambda: store.written_at("a"),
        lambda: list(store.keys("journal/")),
        store.sweep,
        store.probe,
    ):
        store._breaker.succeeded()
        with pytest.raises(StoreAwayError, match=r"not S3 answers|the store fails"):
            act()
    events.unregister("before-send.s3", stranger)
    store._breaker.succeeded()
    assert list(store.keys("journal/")) == ["journal/a/1.json"]


def test_a_store_that_is_away_is_not_named_to_clients(store: S3Store) -> None:
    def refuse(request: AWSRequest, **_: Any) -> None:
        raise EndpointConnectionError(endpoint_url=request.url)

    store.client.meta.events.register_first("before-send.s3", refuse)
    with pytest.raises(StoreAwayError, match=BUCKET) as caught:
        store.size("files/f")
    assert BUCKET not in "".join(caught.value.reasons)


@pytest.mark.parametrize(("patience", "sent"), [(0.0, 1), (60.0, s3.TRIES)])
def test_a_silent_store_is_asked_for_a_bounded_time_and_then_left_alone(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, patience: float, sent: int
) -> None:
    monkeypatch.setattr(s3, "PATIENCE", patience)
    s3.prepare(store.client)
    requests = []

    def silent(request: AWSRequest, **_: Any) -> None:
        requests.append(request.url)
        raise ReadTimeoutError(endpoint_url=request.url)

    events = store.client.meta.events
    events.register_first("before-send.s3", silent)
    for _ in range(3):
        with pytest.raises(StoreAwayError):
            store.size("files/f")
    assert len(requests) == sent
    events.unregister("before-send.s3", silent)
    monkeypatch.setattr(store._breaker, "_failed", None)
    assert store.size("files/f") is None
