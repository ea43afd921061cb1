"""Nobody can make the record say what is not so: wheel digests, evidence, approvals."""

from __future__ import annotations

import hashlib

import pytest

from index_server.access.tokens import make_token, revoke_tokens
from index_server.catalog.evidence import evidence_key
from index_server.errors import ConfigError
from index_server.model import FilePointer, Token, sha256_hex
from index_server.names import person
from index_server.settings import Settings
from tests.helpers.stores import MemoryStore
from tests.helpers.wheels import tuned_wheel
from tests.unit.index.api.test_channels import BOTH, Index

DIGEST = "ab" * 32
EVIL, DEMO = (tuned_wheel(recipe=name, wheel_digest=DIGEST) for name in ("evil", "demo"))


@pytest.fixture
def index(settings: Settings) -> Index:
    return Index(settings)


def build(index: Index, project: str | None = None) -> str | None:
    query = f"?project={project}" if project else ""
    answer = index.get(f"/api/builds/{DIGEST}{query}")
    return answer.json()["filename"] if answer.status_code == 200 else None


def test_a_wheel_digest_is_claimed_for_ones_own_project_alone(index: Index) -> None:
    assert index.upload(*EVIL, "e" * 22).status_code == 200
    assert (build(index, "demo"), build(index, "evil")) == (None, EVIL[0])
    assert index.upload(*DEMO, "d" * 22).status_code == 200
    assert (build(index, "Demo"), build(index, "evil")) == (DEMO[0], EVIL[0])
    assert build(index) == DEMO[0]  # the newest
    assert build(index, "other") is None
    assert index.get(f"/api/builds/{DIGEST}?project=..%2Fdemo").status_code in (400, 422)


def test_a_pointer_of_an_older_server_is_read(index: Index) -> None:
    assert index.upload(*DEMO, "d" * 22).status_code == 200
    del index.store.objects[f"builds/{DIGEST}/demo.json"]
    assert build(index) is None
    pointer = FilePointer(project="demo", filename=DEMO[0])
    index.store.create(f"builds/{DIGEST}.json", pointer.encode())
    assert (build(index), build(index, "demo"), build(index, "evil")) == (DEMO[0], DEMO[0], None)


def test_a_hole_in_the_numbers_of_evidence_is_survived(index: Index) -> None:
    assert index.upload(*DEMO, "d" * 22).status_code == 200
    sha = hashlib.sha256(DEMO[1]).hexdigest()
    path = f"/api/evidence/{sha}/audit"
    for run in range(3):
        assert index.call("PUT", path, {"passed": True, "run": run}).status_code == 200
    del index.store.objects[evidence_key(sha, "audit", 2)]
    assert index.get(path).json()["run"] == 2
    assert index.call("PUT", path, {"passed": False}).status_code == 200
    assert index.get(path).json() == {"passed": False}
    assert evidence_key(sha, "audit", 4) in index.store.objects
    index.store.objects[evidence_key(sha, "audit", 4)] = b"{"
    assert index.get(path).status_code == 500
    assert index.get(f"/api/evidence/{sha}").json()["kinds"] == ["audit"]
    assert index.call("PUT", path, {"passed": True}).status_code == 200
    assert index.get(path).json() == {"passed": True}


@pytest.mark.parametrize(("first", "second"), [(1, True), (True, 1), (0, False), ([1], [True])])
def test_one_is_not_true(index: Index, first: object, second: object) -> None:
    """A later report counts though Python takes the two for equal."""
    assert index.upload(*DEMO, "d" * 22).status_code == 200
    path = f"/api/evidence/{hashlib.sha256(DEMO[1]).hexdigest()}/audit"
    for value in (first, second):
        assert index.call("PUT", path, {"passed": True, "value": value}).status_code == 200
    assert repr(index.get(path).json()["value"]) == repr(second)


def test_an_approval_does_not_outlive_its_token(index: Index) -> None:
    snapshot = index.snapshot(*BOTH)
    assert index.approve(snapshot).status_code == 201
    revoke_tokens(index.store, "bob")
    refused = index.move("stable", snapshot)
    assert (refused.status_code, "approval of another person" in refused.text) == (422, True)
    counted_on = index.move("stable", snapshot, approvals=["bob"])
    assert "bob has not approved it" in counted_on.text
    index.tokens["bob"] = make_token(index.store, "bob", None, ("move:*",))
    assert index.approve(snapshot).status_code == 201
    assert index.move("stable", snapshot, approvals=[" Bob "]).status_code == 201


@pytest.mark.parametrize("spelling", ["ANN", " ann ", "\uff41\uff4e\uff4e", "an\u200bn", "Ann\t"])
def test_one_person_under_two_spellings_is_one(index: Index, spelling: str) -> None:
    snapshot = index.snapshot(*BOTH)
    index.tokens["again"] = secret = make_token(index.store, "other", None, ("move:*",))
    key = f"tokens/{sha256_hex(secret.encode())}.json"  # an older server made tokens of any name
    token = Token.decode(index.store.get(key), key=key)
    index.store.objects[key] = token.model_copy(update={"name": spelling}).encode()
    assert index.approve(snapshot, "again").status_code == 201
    assert index.move("stable", snapshot).status_code == 422


@pytest.mark.parametrize(
    ("one", "other"),
    [("ann", "Ann"), ("ann  lee", " Ann Lee"), ("ﬁona", "FIONA"), ("straße", "STRASSE"), ("é", "e\u0301")],
)
def test_what_spellings_have_in_common(one: str, other: str) -> None:
    assert person(one) == person(other)
    assert person(one) != person("bob")


def test_no_token_is_called_as_the_mirror(settings: Settings) -> None:
    with pytest.raises(ConfigError):
        make_token(MemoryStore(), "Armwheels-Index  MIRROR", None)
