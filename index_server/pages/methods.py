"""Answers writing requests to pages: which methods a page has, and where to upload."""

from __future__ import annotations

from index_server.pages.files import Headers, Send, send_bytes


async def refuse_method(send: Send, method: str, base: str, *, known: bool) -> None:
    """405 where there are pages, else 404; both name the upload address, since clients show the text.

    ``base`` is the server's address without a slash, ``known`` whether pages are below this path.
    """
    upload = f"uploads go to {base}/upload/\n" if method in ("POST", "PUT") else ""
    reason = "this address is read only" if known else "there is nothing at this address"
    body = f"{reason}\n{upload}".encode()
    headers: Headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if known:
        headers.append((b"allow", b"GET, HEAD"))
    await send_bytes(send, 405 if known else 404, headers, body, head=False)
