"""Downloads from a URL, against a real server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.errors import ToolboxError
from builder.toolbox.fetch import download

BODY = b"source" * 1000


class Handler(BaseHTTPRequestHandler):
    """`/moved` redirects, `/broken` breaks off in mid-body the first time, `/gone` is not there."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/gone":
            self.send_error(404)
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            broken = self.path == "/broken" and self.asked.count("/broken") == 1
            self.wfile.write(BODY[:100] if broken else BODY)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's own name
        return None


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    handler = type("Own", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", handler.asked
        served.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/file", "/moved", "/broken"])
def test_a_file_is_complete_after_redirects_and_broken_connections(
    server: tuple[str, list[str]], tmp_path: Path, path: str
) -> None:
    url, asked = server
    download(url + path, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert asked[0] == path


def test_a_refusal_is_an_error_at_once(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = server
    with pytest.raises(ToolboxError, match=r"/gone could not be fetched: 404"):
        download(f"{url}/gone", tmp_path / "file")
    assert asked == ["/gone"]
