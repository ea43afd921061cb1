"""Metrics and the access log: what they count, and that no token gets into them."""

from __future__ import annotations

import re

import orjson
import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.limits import PROBES
from index_server.middleware.observe import Metrics, Observe, kind_of
from index_server.policy import Policy
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from tests.helpers.wheels import make_wheel
from tests.unit.index.api.test_app import PURE, Client

PAGE = "/nightly/generic/simple/pure-thing/"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "people"),
        (PAGE, "page"),
        ("/snapshots/20261123-1/generic/simple/", "page"),
        ("/snapshots/20261123-1/", "people"),
        (f"/files/{'0' * 64}/a-1-py3-none-any.whl", "file"),
        (f"/files/{'0' * 64}/a-1-py3-none-any.whl.metadata", "metadata"),
        ("/api/channels", "api"),
        ("/api/cache/0123456789012345678901", "cache"),
        ("/upload/", "upload"),
        ("/metrics", "probe"),
        ("*", "people"),
    ],
)
def test_a_path_has_a_kind(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def sample(text: str, name: str, **labels: str) -> float:
    spelled = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    found = re.search(rf"^{name}{{{re.escape(spelled)}}} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_requests_are_counted_by_what_they_ask_for(store: ObjectStore, settings: Settings) -> None:
    client = Client(store, settings)
    client.publish((PURE, make_wheel(PURE)))
    watcher = make_token(store, "watcher", None, ["metrics"])
    page = client.get(PAGE)
    client.get("/nightly/generic/simple/absent/")
    client.http.request("BREW", PAGE)
    answer = client.http.get("/metrics", headers={"authorization": f"Bearer {watcher}"})
    assert answer.headers["content-type"].startswith("text/plain; version=")
    requests = "armwheels_requests_total"
    assert sample(answer.text, requests, kind="page", method="GET", status="200") == 1
    assert sample(answer.text, requests, kind="page", method="GET", status="404") == 1
    assert sample(answer.text, requests, kind="page", method="other", status="405") == 1
    assert sample(answer.text, requests, kind="upload", method="POST", status="200") == 1
    sent = sample(answer.text, "armwheels_sent_bytes_total", kind="page")
    assert sent >= int(page.headers["content-length"])
    assert "armwheels_requests_running 1.0" in answer.text  # this one


def test_metrics_need_their_scope_unless_they_are_open(store: ObjectStore, settings: Settings) -> None:
    closed = TestClient(create_app(store, settings, Policy(reads_need_token=True)))
    assert closed.get("/metrics").status_code == 401
    reader = make_token(store, "reader", None, ["read"])
    assert closed.get("/metrics", headers={"authorization": f"Bearer {reader}"}).status_code == 403
    opened = TestClient(create_app(store, settings, Policy(reads_need_token=True, metrics_are_open=True)))
    assert opened.get("/metrics").status_code == 200


def test_the_log_has_a_line_for_each_request_and_no_token(store: ObjectStore, settings: Settings) -> None:
    lines: list[bytes] = []
    secret = make_token(store, "ci", None, ["read"])
    http = TestClient(Observe(create_app(store, settings), Metrics(), lines.append))
    http.get(PAGE, headers={"authorization": f"Bearer {secret}", "user-agent": f"pip/26 {secret}"})
    http.get(f"/nightly/generic/{secret}/")
    http.get("/cpu/", params={"cpuinfo": secret})
    for path in PROBES:
        http.get(path)
    assert [(each["method"], each["status"]) for each in map(orjson.loads, lines)] == [
        ("GET", 404),
        ("GET", 400),
        ("GET", 400),
    ]
    assert secret.encode() not in b"".join(lines)
    first = orjson.loads(lines[0])
    assert (first["path"], first["bytes"] > 0, first["seconds"] > 0) == (PAGE, True, True)
