"""The model of publishers, readers and a collector, on each kind of store."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionClosedError
from hypothesis import settings as hypothesis_settings

from index_server.store.folder import DirectoryStore
from index_server.store.interface import ObjectStore
from scripts.seaweed import Seaweed
from tests.helpers.records import make_record
from tests.helpers.state_machine import DAYS, SESSIONS, Index, Pick
from tests.helpers.stores import moto_store, seaweed_store


class IndexInDirectory(Index):
    """The same on the directory store."""

    def make_inner(self) -> ObjectStore:
        self.folder = tempfile.TemporaryDirectory()
        return DirectoryStore(Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class IndexOnMoto(Index):
    """The same on S3, where the answer to every third write is lost after the write was done."""

    def make_inner(self) -> ObjectStore:
        self.ends = ExitStack()
        self.ends.enter_context(patch("time.sleep"))  # botocore waits before it asks again
        folder = self.ends.enter_context(tempfile.TemporaryDirectory())
        store = self.ends.enter_context(moto_store(Path(folder)))
        events, writes = store.client.meta.events, count(1)

        def lose(request: AWSRequest, **_: object) -> None:
            if next(writes) % 3 == 0:
                events.unregister("before-send.s3.PutObject", lose)
                events.emit("before-send.s3.PutObject", request=request)
                events.register_first("before-send.s3.PutObject", lose)
                raise ConnectionClosedError(endpoint_url=request.url)

        events.register_first("before-send.s3.PutObject", lose)
        self.ends.callback(events.unregister, "before-send.s3.PutObject", lose)
        return store

    def teardown(self) -> None:
        super().teardown()
        self.ends.close()


class IndexOnSeaweed(Index):
    """The same on a real S3 server."""

    server: Seaweed

    def make_inner(self) -> ObjectStore:
        self.folder = tempfile.TemporaryDirectory()
        return seaweed_store(self.server, Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


@pytest.fixture
def on_seaweed(seaweed: Seaweed) -> None:
    IndexOnSeaweed.server = seaweed


TestIndexInMemory = Index.TestCase
TestIndexInMemory.settings = hypothesis_settings(max_examples=60, stateful_step_count=25, deadline=None)
TestIndexInMemoryAtLength = pytest.mark.slow(type("AtLength", (Index,), {}).TestCase)
TestIndexInMemoryAtLength.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestIndexInDirectory = IndexInDirectory.TestCase
TestIndexInDirectory.settings = hypothesis_settings(max_examples=5, stateful_step_count=15, deadline=None)
TestIndexOnMoto = pytest.mark.slow(IndexOnMoto.TestCase)
TestIndexOnMoto.settings = hypothesis_settings(max_examples=3, stateful_step_count=10, deadline=None)
TestIndexOnSeaweed = pytest.mark.slow(pytest.mark.usefixtures("on_seaweed")(IndexOnSeaweed.TestCase))
TestIndexOnSeaweed.settings = hypothesis_settings(max_examples=4, stateful_step_count=12, deadline=None)


def test_an_adoption_that_came_too_late_holds_the_file_when_it_is_uploaded_again() -> None:
    state = Index()
    state.two_nights()
    state.collect(death=None)
    record = make_record(project="other", target="generic", digest="a" * 64)
    state.upload(record=record, salt=False, session=SESSIONS[0], trouble=None, who=0)
    state.across_a_collection(
        after=False, channel="nightly", moment=("adopt", "sessions/"), pick=Pick(0, doomed=False)
    )
    state.upload(record=record, salt=False, session=SESSIONS[0], trouble=None, who=0)
    state.collect(death=None)
    assert record.filename in state.present()
    state.now += timedelta(days=DAYS + 1)
    state.collect(death=None)
    assert record.filename not in state.present()
    state.teardown()
