"""A simple index (PEP 503) of a test's own, served on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep


class SimpleIndex(ThreadingHTTPServer):
    """One project and its files; everything else is not found."""

    daemon_threads = True

    def __init__(self, project: str, files: dict[str, bytes]) -> None:
        self.project = project
        self.files = files
        self.without_hash: set[str] = set()
        self.refuses = False  # every request, by 403
        self.seconds = 0.0  # between the halves of a file
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"

    def page(self) -> bytes:
        links = []
        for name, data in self.files.items():
            fragment = "" if name in self.without_hash else f"#sha256={sha256(data).hexdigest()}"
            links.append(f'<a href="/files/{escape(name)}{fragment}">{escape(name)}</a><br>')
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()


class _Handler(BaseHTTPRequestHandler):
    server: SimpleIndex

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        kind, _, name = self.path.strip("/").partition("/")
        if self.server.refuses:
            self.send_error(403)
        elif kind == "simple" and name == self.server.project:
            self.send(self.server.page(), "text/html")
        elif kind == "files" and name in self.server.files:
            self.send(self.server.files[name], "application/octet-stream")
        else:
            self.send_error(404)

    def send(self, body: bytes, media: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        if media != "text/html":
            sleep(self.server.seconds)
        self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def simple_index(project: str, files: dict[str, bytes]) -> Iterator[SimpleIndex]:
    """Serve a project's files while the block runs."""
    with SimpleIndex(project, files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
