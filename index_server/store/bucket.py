"""The object store on S3, or on anything that speaks as S3 does: the one module that knows boto3.

How the promises of :mod:`index_server.store.folder` are kept here:

* Creating is a PUT under ``If-None-Match: *``, or, for a large file, the completion of a multipart upload
  under the same condition: nothing is there before it is whole, and of many writers one wins.
* botocore repeats a request whose answer was lost, and may so meet its own first write. Each write carries a
  random mark in the object's metadata, by which a refused writer recognises itself.
* A store that ignores the conditions would keep none of this, so :meth:`S3Store.probe` asks before anything
  else does.
* A store that is silent is away after seconds, not minutes: a socket that brings nothing for
  ``ARMWHEELS_STORE_TIMEOUT`` seconds has failed, a request is repeated for :data:`PATIENCE` seconds at most, and
  after that one call in :data:`PAUSE` seconds tries again for all. A slow store that goes on sending is waited for.
* A file goes out in parts of :data:`PART` bytes and comes in by chunks, so that memory stays bounded. Broken
  downloads go on where they broke: objects never change.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, BinaryIO

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError, HTTPClientError
from botocore.exceptions import ConnectionError as UnconnectedError
from botocore.utils import parse_timestamp

from index_server.errors import (
    MissingObjectError,
    NoSpaceError,
    StoreAwayError,
    StoreError,
    UnsafeStoreError,
)
from index_server.store.breaker import Breaker
from index_server.store.interface import Staged, check_key, one_by_one
from index_server.store.scratch import ScratchFolder

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 16 << 20  # bytes of a part, and of the largest object that is written by one PUT
ABANDONED = timedelta(days=1)  # age at which a multipart upload is nobody's; a live one takes minutes
TRIES = 4  # of one request, by botocore; and of one download without progress
PATIENCE = 5.0  # seconds after which a request that failed is not repeated
PAUSE = 1.0  # seconds between the tries while the store is away
WRITING = 5  # times the usual silence is allowed to a store that takes a large part
STREAMED = 128 << 10  # bytes of a file handed on at a time: a slow store must not look like a stalled server
CONNECTIONS = 64
WRITER = "armwheels-writer"  # metadata: the mark of the call that wrote the object
_log = logging.getLogger(__name__)
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_TAKEN = frozenset({"412", "PreconditionFailed", "NoSuchUpload"})
_BUSY = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"})
_AWAY = frozenset({429, 500, 502, 503, 504})
_BEGUN = "armwheels_begun"  # in a request's context: when it was first sent


class S3Store:
    """Objects in a bucket, below a prefix; any number of servers may share it."""

    look_every = 1.0

    def __init__(
        self, client: S3Client, bucket: str, prefix: str, scratch: Path, sender: S3Client | None = None
    ) -> None:
        """``sender`` is the client for large parts, whose answers a living store may take long to give."""
        self.client = client
        self._sender = sender or client
        self._breaker = Breaker(PAUSE)
        self._bucket = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        try:
            scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._scratch = ScratchFolder(scratch)
        except OSError as error:
            raise StoreError(f"{scratch}: cannot hold uploads: {error.strerror}") from error

    def create(self, key: str, data: bytes) -> bool:
        name = self._name(key)

        client = self.client if len(data) <= STREAMED else self._sender

        def put(mark: str) -> None:
            client.put_object(
                Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*", Metadata={WRITER: mark}
            )

        return self._write_once(key, put)

    def create_from(self, key: str, path: Path) -> bool:
        if self.size(key) is not None:  # saves the sending; the condition decides
            return False
        if path.stat().st_size <= PART:
            return self.create(key, path.read_bytes())
        with path.open("rb") as file:
            return self._create_in_parts(key, file)

    def stage(self, objects: Mapping[str, bytes | Path]) -> AbstractContextManager[Staged]:
        return one_by_one(self, objects)

    def get(self, key: str) -> bytes:
        return b"".join(self._stream(key, 0, None))

    def size(self, key: str) -> int | None:
        name = self._name(key)
        with self._speaking("HEAD", key), suppress(MissingObjectError), _absent(key):
            return self.client.head_object(Bucket=self._bucket, Key=name)["ContentLength"]
        return None

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        if start < stop:
            yield from self._stream(key, start, stop)
        elif self.size(key) is None:
            raise MissingObjectError(key)

    def version(self, key: str) -> object | None:
        name = self._name(key)
        with self._speaking("HEAD", key), suppress(MissingObjectError), _absent(key):
            return self.client.head_object(Bucket=self._bucket, Key=name)["ETag"]
        return None

    def keys(self, prefix: str) -> Iterator[str]:
        top = f"{self._name(prefix.removesuffix('/'))}/" if prefix else self._prefix
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=top)
        with self._speaking("LIST", prefix):
            names = [each["Key"] for page in pages for each in page.get("Contents", ())]
        # Not every kind of S3 lists in the order of bytes.
        yield from sorted(name.removeprefix(self._prefix) for name in names if not name.endswith("/"))

    def put_hint(self, key: str, data: bytes) -> None:
        name = self._name(key)
        with self._speaking("PUT", key):
            self.client.put_object(Bucket=self._bucket, Key=name, Body=data)

    def remove(self, key: str) -> None:
        name = self._name(key)
        with self._speaking("DELETE", key):
            self.client.delete_object(Bucket=self._bucket, Key=name)

    def written_at(self, key: str) -> datetime | None:
        name = self._name(key)
        with self._speaking("HEAD", key), suppress(MissingObjectError), _absent(key):
            return self.client.head_object(Bucket=self._bucket, Key=name)["LastModified"]
        return None

    def scratch(self) -> AbstractContextManager[Path]:
        return self._scratch.file()

    # Opening

    def probe(self) -> None:
        """Try on an object of its own whether the store honours the conditions that all else rests on.

        Raises:
            UnsafeStoreError: it does not.
        """
        key = f"probe/{token_hex(12)}"
        name = self._name(key)

        def put_if_match(etag: str) -> bool:
            try:
                self.client.put_object(Bucket=self._bucket, Key=name, Body=b"first", IfMatch=etag)
            except ClientError as error:
                if _code(error) in _TAKEN:
                    return False
                raise
            return True

        faults = []
        with self._speaking("PUT", key):
            try:
                if not self.create(key, b"first"):
                    faults.append("refuses a new object under If-None-Match")
                if self.create(key, b"second"):
                    faults.append("ignores If-None-Match when an object is put")
                if self._create_in_parts(key, io.BytesIO(b"third")):
                    faults.append("ignores If-None-Match when a multipart upload is completed")
                if put_if_match('"00000000000000000000000000000000"'):
                    faults.append("ignores If-Match")
                if not put_if_match(self.client.head_object(Bucket=self._bucket, Key=name)["ETag"]):
                    faults.append("refuses an If-Match that holds")
            finally:
                self.remove(key)
        if faults:
            raise UnsafeStoreError(
                f"{self._place('')} {'; '.join(faults)}: two publishers could overwrite each other there. "
                "Use a store that honours conditional writes, such as AWS S3, SeaweedFS or MinIO"
            )

    def sweep(self) -> None:
        """Abort the multipart uploads that their writers left behind."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        with self._speaking("LIST", "multipart uploads"):
            old = datetime.now(UTC) - ABANDONED
            uploads = [upload for page in pages for upload in page.get("Uploads", ())]
            for upload in uploads:
                if upload["Initiated"] < old:
                    self._abort(upload["Key"], upload["UploadId"])

    def check_bucket(self) -> None:
        """Say clearly that the bucket is not there, which later answers would not.

        Raises:
            StoreError: there is no such bucket, or these keys may not use it.
        """
        with self._speaking("HEAD", ""):
            try:
                self.client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if _code(error) not in _ABSENT | {"NoSuchBucket"}:
                    raise
                raise StoreError(f"there is no bucket {self._bucket}; make it, then start again") from error

    # Writing

    def _write_once(self, key: str, write: Callable[[str], None]) -> bool:
        """Let ``write`` create the object under a mark; say whether it did, even if its answer was lost."""
        mark = token_hex(16)
        with self._speaking("PUT", key):
            for attempt in range(TRIES):
                try:
                    write(mark)
                except ClientError as error:
                    if _code(error) in _TAKEN:
                        again = attempt or error.response["ResponseMetadata"].get("RetryAttempts", 0)
                        return bool(again) and self._mark(key) == mark
                    if _code(error) not in _BUSY or attempt == TRIES - 1:
                        raise
                    time.sleep(0.1 * 2**attempt)  # another writer of this key is at it: ask again
                else:
                    return True
        raise AssertionError("the last attempt returns or raises")

    def _create_in_parts(self, key: str, file: BinaryIO) -> bool:
        name = self._name(key)

        def send(mark: str) -> None:
            file.seek(0)
            begun = self.client.create_multipart_upload(
                Bucket=self._bucket, Key=name, Metadata={WRITER: mark}
            )
            upload = begun["UploadId"]
            try:
                self._sender.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=name,
                    UploadId=upload,
                    MultipartUpload={"Parts": self._send_parts(name, upload, file)},
                    IfNoneMatch="*",
                )
            except BaseException:
                with suppress(BotoCoreError, ClientError):
                    self._abort(name, upload)
                raise

        return self._write_once(key, send)

    def _send_parts(self, name: str, upload: str, file: BinaryIO) -> list[CompletedPartTypeDef]:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        parts: list[CompletedPartTypeDef] = []
        for number in range(1, -(-size // PART) + 1):
            answer = self._sender.upload_part(
                Bucket=self._bucket, Key=name, UploadId=upload, PartNumber=number, Body=file.read(PART)
            )
            part: CompletedPartTypeDef = {"PartNumber": number, "ETag": answer["ETag"]}
            if "ChecksumCRC32" in answer:
                part["ChecksumCRC32"] = answer["ChecksumCRC32"]
            parts.append(part)
        return parts

    def _abort(self, name: str, upload: str) -> None:
        self.client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)

    def _mark(self, key: str) -> str | None:
        head = self.client.head_object(Bucket=self._bucket, Key=self._name(key))
        return head["Metadata"].get(WRITER)

    # Reading

    def _stream(self, key: str, start: int, stop: int | None) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``stop`` or the end."""
        at, failures = start, 0
        while stop is None or at < stop:
            with self._speaking("GET", key):
                body, stop = self._open(key, at, stop)
            try:
                with closing(body):
                    while chunk := body.read(STREAMED):
                        at, failures = at + len(chunk), 0
                        yield chunk
            except FlexibleChecksumError as error:
                raise StoreError(f"{self._place(key)}: its bytes are not those that were written") from error
            except BotoCoreError as error:
                failures += 1
                if failures == TRIES:
                    raise _away(f"the store breaks off: GET {self._place(key)}: {error}") from error
                time.sleep(0.1 * 2**failures)
            else:
                return

    def _open(self, key: str, at: int, stop: int | None) -> tuple[StreamingBody, int]:
        name = self._name(key)
        with _absent(key):
            if stop is None:
                answer = self.client.get_object(Bucket=self._bucket, Key=name)
            else:
                answer = self.client.get_object(Bucket=self._bucket, Key=name, Range=f"bytes={at}-{stop - 1}")
        return answer["Body"], at + answer["ContentLength"]

    # Names and errors

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _place(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    @contextmanager
    def _speaking(self, verb: str, key: str) -> Iterator[None]:
        """Turn what boto3 raises into the store's own errors; while the store is away, few calls are made."""
        if not self._breaker.admits():
            raise StoreAwayError(f"the store did not answer a moment ago: {verb} {self._place(key)}")
        try:
            yield
            self._breaker.succeeded()
        except MissingObjectError:
            self._breaker.succeeded()
            raise
        except ClientError as error:
            self._breaker.succeeded()
            said = f"{verb} {self._place(key)}: {_code(error)}: {error.response['Error'].get('Message', '')}"
            if _code(error) in _FULL:
                raise NoSpaceError("the index has no space left for this; nothing is stored") from error
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in _AWAY:
                raise _away(f"the store fails: {said}") from error
            raise StoreError(said) from error
        except (HTTPClientError, UnconnectedError) as error:
            self._breaker.failed()
            raise _away(f"the store does not answer: {verb} {self._place(key)}: {error}") from error
        except BotoCoreError as error:
            raise StoreError(f"{verb} {self._place(key)}: {error}") from error


@contextmanager
def _absent(key: str) -> Iterator[None]:
    """Turn a refusal that means absence into :class:`MissingObjectError`."""
    try:
        yield
    except ClientError as error:
        if _code(error) not in _ABSENT:
            raise
        raise MissingObjectError(key) from error


def _away(said: str) -> StoreAwayError:
    _log.warning("%s", said)  # clients are not told where the store is
    return StoreAwayError(said)


def _code(error: ClientError) -> str:
    return error.response["Error"].get("Code", "")


def _moment(spelled: str) -> datetime:
    """A time in an answer. botocore's own way takes 0.2 ms, of every key in a listing."""
    try:
        return datetime.fromisoformat(spelled)
    except (TypeError, ValueError):
        return parse_timestamp(spelled)


def _begin(context: dict[str, Any], **_: object) -> None:
    context[_BEGUN] = time.monotonic()


def _give_up(request_dict: dict[str, Any], **_: object) -> bool | None:
    """Keep botocore from repeating a request for too long; None leaves it to botocore."""
    return False if time.monotonic() - request_dict["context"][_BEGUN] >= PATIENCE else None


def bound_retries(client: S3Client) -> None:
    """Let a client repeat a request for :data:`PATIENCE` seconds at most."""
    client.meta.events.register("before-call.s3", _begin)
    veto: Any = _give_up  # the stubs know no handler that answers
    client.meta.events.register_first("needs-retry.s3", veto)


def open_bucket(bucket: str, prefix: str, *, endpoint: str | None, scratch: Path, timeout: float) -> S3Store:
    """Open a store that is known to keep its promises; keys and region are taken from ``AWS_*`` as usual.

    ``timeout`` is how many seconds the store may be silent before it counts as away.

    Raises:
        StoreError: there is no such bucket, or no right to use it.
        UnsafeStoreError: it ignores conditions.
        StoreAwayError: it does not answer.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": TRIES},
        connect_timeout=timeout,
        read_timeout=timeout,
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    try:
        core = botocore.session.get_session()
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        session = boto3.session.Session(botocore_session=core)
        region = session.region_name or ("us-east-1" if endpoint else None)
        patient = config.merge(Config(connect_timeout=timeout * WRITING, read_timeout=timeout * WRITING))
        client, sender = (
            session.client("s3", endpoint_url=endpoint, region_name=region, config=each)
            for each in (config, patient)
        )
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"s3://{bucket} cannot be opened: {error}") from error
    for each in (client, sender):
        bound_retries(each)
    store = S3Store(client, bucket, prefix, scratch, sender)
    store.check_bucket()
    store.probe()
    store.sweep()
    return store
