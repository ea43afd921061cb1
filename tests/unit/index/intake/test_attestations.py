"""Attestations that come with an upload (PEP 740): what is taken, linked and served, and why others are refused."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.errors import ConfigError
from index_server.intake.attestations import LARGEST, examine_attestations, read_authorities
from index_server.policy import Policy
from index_server.settings import Settings
from tests.helpers.attested import PUBLISH, SLSA, Authority
from tests.helpers.stores import MemoryStore
from tests.helpers.wheels import tuned_wheel

FILENAME, WHEEL = tuned_wheel()
SHA256 = hashlib.sha256(WHEEL).hexdigest()
OURS = Authority.make()
ATTESTATION = OURS.attest(FILENAME, SHA256)


def faults(given: object, *authorities: Authority) -> list[str]:
    text = given if isinstance(given, str) else json.dumps(given)
    issuers = [authority.certificate for authority in authorities]
    return list(
        examine_attestations(text, filename=FILENAME, sha256=SHA256, by="ci", authorities=issuers).faults
    )


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    copied = copy.deepcopy(ATTESTATION)
    change(copied)
    return copied


def test_without_attestations_nothing_is_said() -> None:
    attested = examine_attestations(None, filename=FILENAME, sha256=SHA256, by="ci")
    assert (list(attested.faults), attested.provenance) == ([], None)


def test_sound_attestations_become_a_provenance_object() -> None:
    both = [ATTESTATION, OURS.attest(FILENAME, SHA256, SLSA)]
    attested = examine_attestations(
        json.dumps(both), filename=FILENAME, sha256=SHA256, by="ci", authorities=[OURS.certificate]
    )
    assert list(attested.faults) == []
    assert attested.provenance is not None
    document = json.loads(attested.provenance)
    assert document["version"] == 1
    [bundle] = document["attestation_bundles"]
    assert bundle == {"publisher": {"kind": "token", "claims": None, "name": "ci"}, "attestations": both}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ({}, "no JSON array of 1 to 4 objects"),
        ([], "no JSON array of 1 to 4 objects"),
        ([ATTESTATION] * 5, "no JSON array of 1 to 4 objects"),
        ('["' + "a" * LARGEST + '"]', "longer than"),
        (["text"], "attestation 1: it: Input should be a valid dictionary"),
        ([ATTESTATION] * 2, f"attestation 2: the file has two of the type {PUBLISH}"),
        ([changed(lambda a: a.update(version=2))], "version: Input should be 1"),
        ([changed(lambda a: a.pop("envelope"))], "envelope: Field required"),
        (
            [changed(lambda a: a["verification_material"].update(transparency_entries=[]))],
            "verification_material.transparency_entries: List should have at least 1 item",
        ),
        ([changed(lambda a: a["envelope"].update(signature="AAAA"))], "did not sign its statement"),
        ([changed(lambda a: a["envelope"].update(signature="é"))], "envelope.signature is not base64"),
        (
            [changed(lambda a: a["verification_material"].update(certificate="AAAA"))],
            "certificate cannot be read",
        ),
        ([OURS.attest("other.whl", SHA256)], f"its subject is 'other.whl', not {FILENAME}"),
        ([OURS.attest(FILENAME, "0" * 64)], "its subject has the sha256 '000"),
        ([OURS.attest(FILENAME, SHA256, subject=[])], "its statement has 0 subjects, not one"),
        (
            [OURS.attest(FILENAME, SHA256, "https://example.org/v1")],
            "its predicate is 'https://example.org/v1'",
        ),
        ([OURS.attest(FILENAME, SHA256, predicate={"a": 1})], "must be empty"),
        (
            [OURS.attest(FILENAME, SHA256, _type="https://in-toto.io/Statement/v0.1")],
            "its statement is not of",
        ),
    ],
)
def test_what_is_refused(given: object, reason: str) -> None:
    [fault] = faults(given)
    assert reason in fault


def test_all_faults_are_told_together() -> None:
    wrong = OURS.attest("other.whl", "0" * 64, "https://example.org/v1")
    wrong["envelope"]["signature"] = "AAAA"
    assert len(faults([wrong, changed(lambda a: a.update(version=2))])) == 5


@pytest.mark.parametrize(
    "other",
    [
        Authority.make("other"),
        Authority.make("authority"),  # the same name, another key
        Authority.make("authority", ca=False),
        Authority.make("authority", age=timedelta(days=90)),
    ],
)
def test_only_the_indexs_authorities_count(other: Authority) -> None:
    assert faults([ATTESTATION], other, OURS) == []
    assert faults([ATTESTATION], other) == [
        "attestation 1: none of the index's authorities issued its certificate"
    ]
    assert faults([other.attest(FILENAME, SHA256)], OURS) != []


def test_an_authority_that_may_issue_nothing_or_no_longer_does_not_count() -> None:
    for weak in (Authority.make(ca=False), Authority.make(age=timedelta(days=90))):
        assert faults([weak.attest(FILENAME, SHA256)], weak) != []


def test_a_file_of_authorities_is_read_or_refused() -> None:
    pem = OURS.pem + Authority.make("other").pem
    assert len(read_authorities(pem)) == 2
    with pytest.raises(ConfigError, match="no certificates"):
        read_authorities(b"")


class Index:
    def __init__(self, settings: Settings, *authorities: Authority) -> None:
        store = MemoryStore()
        policy = Policy(authorities=[authority.certificate for authority in authorities])
        self.http = TestClient(create_app(store, settings, policy), base_url="https://wheels.example")
        self.auth = {"Authorization": f"Bearer {make_token(store, 'ci', None, ['admin'])}"}

    def upload(self, attestations: object | None) -> Any:
        form = {":action": "file_upload", "protocol_version": "1"}
        if attestations is not None:
            form["attestations"] = json.dumps(attestations)
        files = {"content": (FILENAME, WHEEL)}
        return self.http.post(f"/upload/?session={'s' * 22}", data=form, files=files, headers=self.auth)

    def publish(self) -> str:
        asked = {"session": "s" * 22, "idempotency_key": "k"}
        made = self.http.post("/api/snapshots", json=asked, headers=self.auth).json()
        move = {"snapshot": made["id"], "expected_serial": 0, "nonce": "n"}
        assert self.http.post("/api/channels/nightly/moves", json=move, headers=self.auth).is_success
        return "/nightly/neoverse-v1/simple/demo/"


def test_an_upload_is_linked_to_its_provenance(settings: Settings) -> None:
    index = Index(settings, OURS)
    assert index.upload([ATTESTATION]).status_code == 200
    page = index.publish()
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    [file] = index.http.get(page, headers=accept).json()["files"]
    path = f"/integrity/demo/1.0%2Bneoverse.v1/{FILENAME.replace('+', '%2B')}/provenance"
    assert file["provenance"] == f"https://wheels.example{path}"
    html = index.http.get(page, headers={"Accept": "text/html"}).text
    assert f'data-provenance="{file["provenance"]}"' in html
    served = index.http.get(file["provenance"])
    assert served.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
    assert served.json()["attestation_bundles"][0]["attestations"] == [ATTESTATION]
    # The page names the address by which it was asked for, and no address where that is no secure origin.
    mirror = {**accept, "Host": "mirror.example"}
    [file] = index.http.get(page, headers=mirror).json()["files"]
    assert file["provenance"] == f"https://mirror.example{path}"
    [file] = index.http.get(f"http://wheels.example{page}", headers=accept).json()["files"]
    assert "provenance" not in file
    for wrong in ("/integrity/demo/2.0/a-1.0-py3-none-any.whl/provenance", "/integrity/demo", path + "s"):
        assert index.http.get(wrong).status_code == 404


def test_an_upload_without_attestations_has_no_provenance(settings: Settings) -> None:
    index = Index(settings)
    assert index.upload(None).status_code == 200
    [file] = index.http.get(
        index.publish(), headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    ).json()["files"]
    assert "provenance" not in file
    assert index.http.get(f"/integrity/demo/1.0+neoverse.v1/{FILENAME}/provenance").status_code == 404


def test_a_refused_upload_tells_all_its_faults(settings: Settings) -> None:
    index = Index(settings, Authority.make("other"))
    answer = index.upload([OURS.attest("other.whl", SHA256)])
    assert answer.status_code == 400
    assert len(answer.text.splitlines()) == 2
    assert index.http.get(f"/api/sessions/{'s' * 22}").status_code == 404
