"""Whatever a client sends, by the OpenAPI document or against it, is never answered with 500."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.policy import Policy
from index_server.settings import Settings
from tests.helpers.stores import MemoryStore
from tests.helpers.wheels import tuned_wheel

pytestmark = pytest.mark.slow
SESSION = "s" * 22


class Fuzzed:
    """An index in memory that shows one wheel, so that requests meet something."""

    def __init__(self, settings: Settings) -> None:
        store = MemoryStore()
        self.app: ASGIApp = create_app(store, settings, Policy(uploads_per_second=1e5))
        self.token = make_token(store, "fuzzer", None, ("admin",))
        self.auth = {"Authorization": f"Bearer {self.token}"}
        name, data = tuned_wheel()
        self._send(
            "POST",
            f"/upload/?session={SESSION}",
            data={":action": "file_upload"},
            files={"content": (name, data)},
        )
        made = self._send("POST", "/api/snapshots", json={"session": SESSION, "idempotency_key": "k"})
        move = {"snapshot": made.json()["id"], "expected_serial": 0, "nonce": "n"}
        self._send("POST", "/api/channels/nightly/moves", json=move)
        self._send("PUT", f"/api/evidence/{hashlib.sha256(data).hexdigest()}/audit", json={"passed": True})

    def _send(self, method: str, path: str, **content: Any) -> Any:
        answer = TestClient(self.app).request(method, path, headers=self.auth, **content)
        assert answer.is_success, answer.text
        return answer


@pytest.fixture(scope="module")
def fuzzed(settings: Settings) -> Fuzzed:
    return Fuzzed(settings)


@pytest.fixture(scope="module")
def api(fuzzed: Fuzzed) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", fuzzed.app)


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_request_ends_as_500(api: Any, fuzzed: Fuzzed, mode: GenerationMode) -> None:
    tried = 0
    for operation in (found.ok() for found in api.get_all_operations()):

        @hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case) -> None:
            answer = case.call(headers={**(case.headers or {}), **fuzzed.auth})
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)
            if answer.status_code >= 400 and case.method != "HEAD":
                [kind] = answer.headers["content-type"]
                assert kind.startswith(("application/problem+json", "text/plain", "text/html"))
                assert fuzzed.token not in answer.text

        try:
            send()
        except Unsatisfiable:
            continue  # nothing can break the schema of an operation without parameters
        tried += 1
    assert tried > 10
