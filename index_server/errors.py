"""Every failure as a class: an exit code for the command line, a status for HTTP.

A message says what happened, then what to do. Requests collect all their reasons before they fail. Errors
are caught once on each side: in :mod:`index_server.cli` and in :mod:`index_server.api.app`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from index_server.reasons import Reasons


class IndexServerError(Exception):
    """Base of every error that becomes a sentence instead of a traceback."""

    exit_code: ClassVar[int] = 1


class CheckFailedError(IndexServerError):
    """``armwheels-index check`` found faults; they are printed before this is raised."""

    exit_code = 1


class ConfigError(IndexServerError):
    """A file in ``configs/`` or a setting is wrong; the message lists every fault."""

    exit_code = 3


class StoreError(IndexServerError):
    """The store cannot be opened, or holds something that cannot be right."""

    exit_code = 4


class MissingObjectError(StoreError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key}: not in the store")
        self.key = key


class UnsafeStoreError(StoreError):
    """The store ignores a condition that keeps two writers apart; nothing may be published to it."""

    exit_code = 6


class PortInUseError(IndexServerError):
    """The address to serve on is taken or not ours."""

    exit_code = 5


class ResolveError(IndexServerError):
    """No closed set of wheels exists; the message says which project is in the way."""

    exit_code = 7


class MirrorError(IndexServerError):
    """A wheel of others cannot be had, or is not what was resolved."""

    exit_code = 8


class RequestError(IndexServerError):
    """A request that is answered with ``status`` and all of ``reasons`` (RFC 9457 on the API)."""

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
    """The file or its form has faults; every one is named."""

    status = 400
    title = "the file was not taken"


class MalformedError(RequestError):
    """The request is not what the contract says."""

    status = 400
    title = "the request is malformed"


class UnauthorizedError(RequestError):
    """No token, or credentials that hold none (RFC 9110 section 15.5.2)."""

    status = 401
    title = "a valid token is needed"


class WrongTokenError(UnauthorizedError):
    """A token that is unknown, has expired or was revoked. Sending it again is of no use, so it is 403."""

    status = 403
    title = "this token is not valid here"


class ForbiddenError(RequestError):
    """The token is valid, and not for this."""

    status = 403
    title = "this token may not do that"


class NotFoundError(RequestError):
    """The index holds no such thing."""

    status = 404
    title = "not found"


class SlowBodyError(RequestError):
    """The client sends its body too slowly (RFC 9110 section 15.5.9)."""

    status = 408
    title = "the body did not come in time"


class ConflictError(RequestError):
    """The request contradicts what is already written."""

    status = 409
    title = "this contradicts what is already written"


class GateError(RequestError):
    """The gates of a channel are shut to a snapshot."""

    status = 422
    title = "the channel's gates are shut to this snapshot"


class TooManyError(RequestError):
    """More uploads than this index takes from one token (RFC 6585 section 4)."""

    status = 429
    title = "too many uploads"

    def __init__(self, reason: str, *, retry_after: int) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.retry_after = retry_after  # seconds


class GoneError(RequestError):
    """It was here, and no promise covered it any more (RFC 9110 section 15.5.11)."""

    status = 410
    title = "this file was collected"


class TooLargeError(RequestError):
    """The body is larger than this index takes."""

    status = 413
    title = "too large"


class NoSpaceError(RequestError):
    """The store's disk is full (RFC 4918 section 11.5)."""

    status = 507
    title = "the index has no space left"


class DamagedError(StoreError, RequestError):
    """An object is not what was written; ``detail`` says how and is for the operator alone."""

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
    """The store does not answer now; ``detail`` says where it is and is for the operator alone."""

    status = 503
    title = "the store does not answer"
    retry_after = 5  # seconds

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.reasons = (f"the index cannot reach its store now; ask again in {self.retry_after} seconds",)


class ReadOnlyStoreError(StoreAwayError):
    """The store can be read and not written."""

    title = "the store cannot be written"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.reasons = ("the index cannot write to its store now; reading goes on",)


def as_answer(error: StoreError) -> RequestError:
    """What a client is told of a store's failure: never where the store is, nor what it holds."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, MissingObjectError):  # another object names it
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
