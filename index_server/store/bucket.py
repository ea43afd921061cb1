"""The object store in a bucket of S3 or a compatible service. Only this module uses boto3.

It gives the guarantees of :mod:`index_server.store.interface` as follows:

* ``create`` is a PUT with ``If-None-Match: *``. For a large file, it is a multipart upload whose completion has
  this condition. So an object appears only when it is complete, and of several writers one succeeds.
* botocore repeats a request whose answer was lost. The condition may then refuse the second request because of the
  first. So each write has a random mark in the object's metadata, by which a writer recognises its own object.
* :meth:`S3Store.probe` checks at opening that the store honours these conditions. Without them, no guarantee holds.
* If a connection receives nothing for ``ARMWHEELS_STORE_TIMEOUT`` seconds, the request fails. A failed request is
  repeated for at most :data:`PATIENCE` seconds. After that, one call every :data:`PAUSE` seconds tries the store,
  and all other calls fail at once. A slow store that continues to send data is not cut off.
* An answer without what S3 always sends, such as an ETag, comes from something else: a proxy or a login page that
  answers everything with 200. It is an error, not an object or an empty listing.
* Uploads are sent in parts of :data:`PART` bytes, and downloads are read in chunks. So memory use is bounded.
* An interrupted download continues where it stopped, since objects never change.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, BinaryIO

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError, HTTPClientError
from botocore.exceptions import ConnectionError as UnconnectedError
from botocore.parsers import ResponseParserError
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
    from botocore.awsrequest import AWSResponse
    from botocore.model import OperationModel
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 16 << 20  # bytes of a part, and of the largest object that is written by one PUT
ABANDONED = timedelta(days=1)  # age at which a multipart upload is aborted; running ones take minutes
TRIES = 4  # of one request, by botocore; and of one download without progress
PATIENCE = 5.0  # seconds after which a failed request is not repeated
PAUSE = 1.0  # seconds between attempts while the store is away
WRITING = 5  # factor on the timeout while the store receives a large part
STREAMED = 128 << 10  # bytes per chunk; small, so that clients of a slow store regularly receive data
CONNECTIONS = 64
WRITER = "armwheels-writer"  # metadata key of the mark of the call that wrote the object
_log = logging.getLogger(__name__)
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_TAKEN = frozenset({"412", "PreconditionFailed", "NoSuchUpload"})
_BUSY = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"})
_AWAY = frozenset({429, 500, 502, 503, 504})
_ALWAYS = {  # what S3 sends in each answer to an operation
    **dict.fromkeys(
        ("HeadObject", "GetObject", "PutObject", "UploadPart", "CompleteMultipartUpload"), "ETag"
    ),
    **dict.fromkeys(("ListObjectsV2", "ListMultipartUploads"), "IsTruncated"),
    "CreateMultipartUpload": "UploadId",
}
_BEGUN = "armwheels_begun"  # key in a request's context: the time of its first attempt


class S3Store:
    """Objects in a bucket, below a prefix. Any number of servers may share it."""

    look_every = 1.0
    gains_together = False

    def __init__(
        self, client: S3Client, bucket: str, prefix: str, scratch: Path, sender: S3Client | None = None
    ) -> None:
        """``sender`` is the client for large parts. It has a longer timeout, since a store answers them slowly."""
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
        if self.size(key) is not None:  # saves the upload; the condition decides
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

    def open(self, key: str) -> None:
        """Return None: objects of a bucket are no files."""

    def keys(self, prefix: str) -> Iterator[str]:
        top = f"{self._name(prefix.removesuffix('/'))}/" if prefix else self._prefix
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=top)
        with self._speaking("LIST", prefix):
            names = [each["Key"] for page in pages for each in page.get("Contents", ())]
        # Not all services list keys in byte order.
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
        """Check that the store honours conditional writes, on an object that is created and deleted for this.

        Raises:
            UnsafeStoreError: the store does not honour them.
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
                with suppress(StoreAwayError):  # the first error says more
                    self.remove(key)
        if faults:
            raise UnsafeStoreError(
                f"{self._place('')} {'; '.join(faults)}: two publishers could overwrite each other there. "
                "Use a store that honours conditional writes, such as AWS S3, SeaweedFS or MinIO"
            )

    def sweep(self) -> None:
        """Abort multipart uploads that are older than :data:`ABANDONED`."""
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
        """Check that the bucket exists. Later requests would report a missing bucket as a missing object.

        Raises:
            StoreError: there is no such bucket, or the credentials do not allow its use.
        """
        with self._speaking("HEAD", ""):
            try:
                self.client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if _code(error) not in _ABSENT | {"NoSuchBucket"}:
                    raise
                raise StoreError(f"there is no bucket {self._bucket}; create it, then start again") from error

    # Writing

    def _write_once(self, key: str, write: Callable[[str], None]) -> bool:
        """Call ``write`` with a new mark. Return whether it created the object, even if an answer was lost."""
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
                    time.sleep(0.1 * 2**attempt)  # another writer is creating this key
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
        """Yield the bytes from ``start`` up to ``stop``, or up to the end if ``stop`` is None."""
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
                raise StoreError(
                    f"{self._place(key)}: its bytes differ from those that were written"
                ) from error
            except BotoCoreError as error:
                failures += 1
                if failures == TRIES:
                    raise _away(f"the answer broke off: GET {self._place(key)}: {error}") from error
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
        """Convert exceptions of boto3, and fail at once while the breaker is open.

        Raises:
            NoSpaceError: the store is full.
            StoreAwayError: the store does not answer, or did not a moment ago.
            StoreError: the store refused the request.
        """
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
            text = f"{verb} {self._place(key)}: {_code(error)}: {error.response['Error'].get('Message', '')}"
            if _code(error) in _FULL:
                raise NoSpaceError("the index has no space left for this; nothing is stored") from error
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in _AWAY:
                raise _away(f"the store fails: {text}") from error
            raise StoreError(text) from error
        except (HTTPClientError, UnconnectedError) as error:
            self._breaker.failed()
            raise _away(f"the store does not answer: {verb} {self._place(key)}: {error}") from error
        except (_StrangerError, ResponseParserError) as error:
            self._breaker.failed()
            raise _away(f"not S3 answers: {verb} {self._place(key)}: {error}") from error
        except BotoCoreError as error:
            raise StoreError(f"{verb} {self._place(key)}: {error}") from error


class _StrangerError(BotoCoreError):
    fmt = "{operation}: the answer has no {name}"


@contextmanager
def _absent(key: str) -> Iterator[None]:
    """Convert an answer that there is no such object into :class:`MissingObjectError`."""
    try:
        yield
    except ClientError as error:
        if _code(error) not in _ABSENT:
            raise
        raise MissingObjectError(key) from error


def _away(message: str) -> StoreAwayError:
    _log.warning("%s", message)  # in the log only: answers to clients do not contain the store's address
    return StoreAwayError(message)


def _code(error: ClientError) -> str:
    return error.response["Error"].get("Code", "")


def _moment(text: str) -> datetime:
    """Parse a time in an answer. botocore's own parser takes 0.2 ms, for each key of a listing."""
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return parse_timestamp(text)


def _begin(context: dict[str, Any], **_: object) -> None:
    context[_BEGUN] = time.monotonic()


def _give_up(request_dict: dict[str, Any], **_: object) -> bool | None:
    """Return False to end botocore's retries after :data:`PATIENCE` seconds, or None to let botocore decide."""
    return False if time.monotonic() - request_dict["context"][_BEGUN] >= PATIENCE else None


def _refuse_strangers(
    http_response: AWSResponse, parsed: dict[str, Any], model: OperationModel, **_: object
) -> None:
    """Raise an error for a good answer that lacks what S3 always sends."""
    name = _ALWAYS.get(model.name)
    if http_response.status_code < HTTPStatus.MULTIPLE_CHOICES and name is not None and name not in parsed:
        if "Body" in parsed:
            parsed["Body"].close()
        raise _StrangerError(operation=model.name, name=name)


def prepare(client: S3Client) -> None:
    """Make a client repeat a request for at most :data:`PATIENCE` seconds, and take answers of S3 alone."""
    client.meta.events.register("after-call.s3", _refuse_strangers)
    client.meta.events.register("before-call.s3", _begin)
    veto: Any = _give_up  # the stubs have no type for handlers with a return value
    client.meta.events.register_first("needs-retry.s3", veto)


def open_bucket(bucket: str, prefix: str, *, endpoint: str | None, scratch: Path, timeout: float) -> S3Store:
    """Open a store after checking that it honours conditional writes.

    boto3 reads credentials and region from its usual sources, such as the ``AWS_*`` variables. ``timeout`` is the
    number of seconds without data after which a request fails.

    Raises:
        StoreError: there is no such bucket, or the credentials do not allow its use.
        UnsafeStoreError: the store does not honour conditional writes.
        StoreAwayError: the store does not answer.
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
        prepare(each)
    store = S3Store(client, bucket, prefix, scratch, sender)
    store.check_bucket()
    store.probe()
    store.sweep()
    return store
