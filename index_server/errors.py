"""All errors, each with an exit code for the command line and, for requests, an HTTP status.

A message says what happened, then what to do. A refused request lists all its reasons. Errors are caught in two
places: :mod:`index_server.cli` and :mod:`index_server.api.app`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from index_server.reasons import Reasons


class IndexServerError(Exception):
    """Base of all errors that are reported as a message, without a traceback."""

    exit_code: ClassVar[int] = 1


class CheckFailedError(IndexServerError):
    """``armwheels-index check`` found faults; they are printed before this error is raised."""

    exit_code = 1


class ConfigError(IndexServerError):
    """A file in ``configs/`` or a variable has faults; the message lists all of them."""

    exit_code = 3


class StoreError(IndexServerError):
    """The store cannot be opened, or an object in it is not valid."""

    exit_code = 4


class MissingObjectError(StoreError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key}: not in the store")
        self.key = key


class UnsafeStoreError(StoreError):
    """The store ignores conditional writes, so two publishers could overwrite each other."""

    exit_code = 6


class PortInUseError(IndexServerError):
    """The address to listen on is in use, or is not an address of this machine."""

    exit_code = 5


class ResolveError(IndexServerError):
    """No wheels satisfy all requirements; the message names the project at fault."""

    exit_code = 7


class MirrorError(IndexServerError):
    """A wheel to mirror cannot be downloaded, or is not the one that was resolved."""

    exit_code = 8


class NotSignedError(IndexServerError):
    """Metadata is not signed: a signature is missing, or the store does not continue what was signed before."""

    exit_code = 9


class RequestError(IndexServerError):
    """A request that is refused with ``status`` and ``reasons`` (RFC 9457)."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = "the request was refused"

    def __init__(self, *reasons: str, **members: object) -> None:
        self.reasons: Sequence[str] = tuple(Reasons(reasons))
        super().__init__("\n".join(self.reasons))
        self.members = members

    def problem(self) -> dict[str, object]:
        """Its problem document (RFC 9457)."""
        return problem_document(self.status, self.title, self.reasons, self.members)


class BadUploadError(RequestError):
    """The uploaded file or its form has faults; the reasons name each one."""

    status = 400
    title = "the file was refused"


class MalformedError(RequestError):
    """The request is not valid."""

    status = 400
    title = "the request is malformed"


class UnauthorizedError(RequestError):
    """The request has no token (RFC 9110 section 15.5.2)."""

    status = 401
    title = "a valid token is needed"


class WrongTokenError(UnauthorizedError):
    """The token is unknown, expired or revoked. Status 403, since sending it again cannot help."""

    status = 403
    title = "this token is not valid here"


class ForbiddenError(RequestError):
    """The token is valid but has no scope for the request."""

    status = 403
    title = "this token may not do that"


class NotFoundError(RequestError):
    """The index has no such object."""

    status = 404
    title = "not found"


class SlowBodyError(RequestError):
    """The client sends its body too slowly (RFC 9110 section 15.5.9)."""

    status = 408
    title = "the body did not come in time"


class ConflictError(RequestError):
    """The request contradicts what is already stored."""

    status = 409
    title = "the request contradicts what is already stored"


class UnresolvableError(RequestError):
    """A snapshot does not have what the projects of a lock file need."""

    status = 409
    title = "the snapshot does not have what these projects need"


class GateError(RequestError):
    """A channel's gates refuse the snapshot."""

    status = 422
    title = "the channel's gates refuse this snapshot"


class TooManyError(RequestError):
    """The token has made too many uploads in a short time (RFC 6585 section 4)."""

    status = 429
    title = "too many uploads"

    def __init__(self, reason: str, *, retry_after: int) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.retry_after = retry_after  # seconds


class GoneError(RequestError):
    """The file was collected after its retention ended (RFC 9110 section 15.5.11)."""

    status = 410
    title = "this file was collected"


class TooLargeError(RequestError):
    """The body is larger than the index accepts."""

    status = 413
    title = "too large"


class NoSpaceError(RequestError):
    """The store's disk is full (RFC 4918 section 11.5)."""

    status = 507
    title = "the index has no space left"


class DamagedError(StoreError, RequestError):
    """A stored object is damaged. ``detail`` is for the operator; clients do not see it."""

    status = 500
    title = "a part of the index is damaged"

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"{key}: damaged: {detail}")
        self.reasons = (f"damaged: {key}; the operator should run `armwheels-index check`",)


class NotNowError(RequestError):
    """The server cannot do its part now (RFC 9110 section 15.6.4)."""

    status = 503
    title = "not now"
    retry_after = 5  # seconds


class StoreAwayError(StoreError, RequestError):
    """The store does not answer. ``detail`` is for the operator; clients do not see it."""

    status = 503
    title = "the store does not answer"
    retry_after = 5  # seconds

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.reasons = (f"the index cannot reach its store now; ask again in {self.retry_after} seconds",)


class ReadOnlyStoreError(StoreAwayError):
    """The store can be read but not written."""

    title = "the store cannot be written"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.reasons = ("the index cannot write to its store now; reading goes on",)


def as_answer(error: StoreError) -> RequestError:
    """The answer to a client for a failure of the store. It does not say where the store is."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, MissingObjectError):  # another object refers to it
        return DamagedError(error.key, "it is missing")
    return StoreAwayError(str(error))


def problem_document(
    status: int, title: str, reasons: Sequence[str], members: Mapping[str, object] | None = None
) -> dict[str, object]:
    """A problem document (RFC 9457) with ``reasons`` and further members of its own."""
    return {
        **(members or {}),
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": "; ".join(reasons),
        "reasons": list(reasons),
    }
