"""Statements about wheels: their form, and that each is signed once."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2 as result_pb2
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from builder.errors import ConfigError
from builder.index.keys import builder_key, signing_line
from builder.index.publish import put_evidence
from builder.index.statements import Report, provenance, sealed, verdict
from index_server.errors import ConfigError as IndexConfigError
from index_server.trust.keys import held_elsewhere, new_key, open_signer
from tests.helpers.wheels import make_passport, tuned_wheel

SHA256 = "a" * 64


def statement_of(data: bytes) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(data)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "demo.whl", "digest": {"sha256": SHA256}}]
    return statement


def test_provenance_is_that_of_slsa() -> None:
    statement = statement_of(provenance("demo.whl", SHA256, make_passport()))
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    # The official message refuses fields that SLSA does not have.
    parsed = ParseDict(statement["predicate"], provenance_pb2.Provenance())
    assert parsed.build_definition.external_parameters["target"] == "neoverse-v1"
    assert [each.name for each in parsed.build_definition.resolved_dependencies] == [
        "source",
        "toolchain/gcc 14",
    ]
    assert parsed.run_details.metadata.invocation_id == make_passport()["build"]


@pytest.mark.parametrize(("passed", "result"), [(True, "PASSED"), (False, "FAILED"), ("true", "FAILED")])
def test_a_verdict_is_a_test_result(passed: object, result: str) -> None:
    report = Report(kind="audit", body={"passed": passed, "share": 0.1, "name": "ö"})
    statement = statement_of(verdict("demo.whl", SHA256, report))
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    parsed = ParseDict(statement["predicate"], result_pb2.TestResult())
    assert parsed.result == result
    assert parsed.configuration[0].digest["sha256"] == report.sha256


class Shelf:
    """The evidence of an index."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.puts: list[str] = []

    def evidence(self, _: str, kind: str) -> dict[str, Any] | None:
        return self.held.get(kind)

    def put_evidence(self, _: str, kind: str, body: dict[str, Any]) -> None:
        self.puts.append(kind)
        self.held[kind] = body


def proven(folder: Path) -> SimpleNamespace:
    filename, data = tuned_wheel()
    (folder / filename).write_bytes(data)
    report = SimpleNamespace(model_dump=lambda mode: {"passed": True})
    return SimpleNamespace(path=folder / filename, sha256=SHA256, audit=report, verify=report, bench=None)


def test_a_wheel_is_published_with_signed_statements(tmp_path: Path) -> None:
    index: Any = Shelf()
    wheel: Any = proven(tmp_path)
    signer = CryptoSigner.generate_ecdsa()  # which never makes the same signature twice
    put_evidence(index, wheel, signer)
    kinds = ["audit", "emulation", "statement-audit", "statement-emulation", "statement-provenance"]
    assert index.puts == kinds
    for kind in kinds[2:]:
        Envelope.from_dict(json.loads(json.dumps(index.held[kind]))).verify([signer.public_key], 1)
    put_evidence(index, wheel, signer)
    assert index.puts == [*kinds, "audit", "emulation"]
    other = CryptoSigner.generate_ed25519()
    put_evidence(index, wheel, other)
    assert index.held["statement-audit"]["signatures"][0]["keyid"] == other.public_key.keyid


def test_without_a_key_nothing_is_signed_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARMWHEELS_SIGNING_KEY", raising=False)
    assert builder_key() is None
    assert "none is signed" in signing_line(None)
    index: Any = Shelf()
    wheel: Any = proven(tmp_path)
    put_evidence(index, wheel, None)
    assert index.puts == ["audit", "emulation"]


def test_a_key_file_of_the_index_signs_for_the_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = new_key(tmp_path / "builder.json")
    assert (tmp_path / "builder.pem").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("ARMWHEELS_SIGNING_KEY", str(tmp_path / "builder.json"))
    signer = builder_key()
    assert signer is not None
    envelope = Envelope.from_dict(sealed(b"{}", signer))
    assert list(envelope.verify([made], 1)) == [made.keyid]
    assert made.keyid[:8] in signing_line(signer)
    with pytest.raises(IndexConfigError, match="exists"):
        new_key(tmp_path / "builder.json")


def test_a_key_that_is_held_elsewhere_is_named_by_its_uri(tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ecdsa()
    (tmp_path / "private.pem").write_bytes(signer.private_bytes)
    (tmp_path / "public.pem").write_text(signer.public_key.keyval["public"])
    uri = f"file2:{tmp_path / 'private.pem'}"
    key = held_elsewhere(tmp_path / "key.json", uri, tmp_path / "public.pem")
    assert key.keyid == signer.public_key.keyid
    assert open_signer(tmp_path / "key.json").public_key == key
    with pytest.raises(IndexConfigError, match="begins with none of"):
        held_elsewhere(tmp_path / "other.json", "paper:1", tmp_path / "public.pem")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keyid": "a", "signer": "file2:a.pem"}'])
def test_what_is_no_key_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "key.json").write_text(text)
    monkeypatch.setenv("ARMWHEELS_SIGNING_KEY", str(tmp_path / "key.json"))
    with pytest.raises(ConfigError, match="is no key file"):
        builder_key()
    with pytest.raises(IndexConfigError, match="is no key file"):
        open_signer(tmp_path / "key.json")


def test_the_private_key_of_another_is_refused(tmp_path: Path) -> None:
    new_key(tmp_path / "one.json")
    new_key(tmp_path / "two.json")
    (tmp_path / "one.pem").write_bytes((tmp_path / "two.pem").read_bytes())
    with pytest.raises(IndexConfigError, match="cannot be used"):
        open_signer(tmp_path / "one.json")


def test_payloads_are_base64_of_the_statement() -> None:
    made = verdict("demo.whl", SHA256, Report(kind="audit", body={"passed": True}))
    assert base64.b64decode(sealed(made, CryptoSigner.generate_ed25519())["payload"]) == made
