"""Workers that check wheels: what they answer, and what becomes of one that passes a limit or dies."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from index_server.errors import NotNowError
from index_server.intake import pool as pools
from index_server.intake.pool import COMMAND, Pool
from index_server.intake.wheel import WheelContents, read_wheel
from index_server.names import parse_name
from index_server.settings import Settings
from tests.helpers.archives import NAME
from tests.helpers.wheels import make_wheel, tuned_wheel

Start = Callable[..., Pool]

# A worker that answers to the rules, and then does what a test says to a first job.
PUPPET = """
import socket, os, signal, time
from index_server.intake import worker
channel = socket.socket(fileno=0)
worker.receive(channel, 1 << 24)
worker.send(channel, "ready")
worker.receive(channel, 1 << 24)
{act}
"""


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    made: list[Pool] = []

    def run(*command: str, workers: int = 1) -> Pool:
        made.append(
            Pool(sorted(settings.targets.by_name), settings.passport.schema, workers, command or COMMAND)
        )
        return made[-1]

    yield run
    for each in made:
        each.close()


def check(pool: Pool, tmp_path: Path, data: bytes, filename: str = NAME) -> WheelContents:
    path = tmp_path / filename
    path.write_bytes(data)
    return pool.check(path, parse_name(filename))


def test_a_worker_answers_as_the_rules_do(start: Start, settings: Settings, tmp_path: Path) -> None:
    pool = start()
    name, data = tuned_wheel()
    answer = check(pool, tmp_path, data, name)
    alone = read_wheel(tmp_path / name, parse_name(name), settings.targets, settings.passport)
    assert answer.tuned is not None
    assert (answer.tuned, answer.facts, answer.metadata) == (alone.tuned, alone.facts, alone.metadata)
    assert list(answer.faults) == list(alone.faults) == []


def test_reasons_come_back_and_the_worker_goes_on(start: Start, tmp_path: Path) -> None:
    pool = start()
    assert list(check(pool, tmp_path, b"MZ" * 100).faults) == [
        "does not end with a ZIP end record: cut off, trailing data, or an archive comment"
    ]
    assert list(check(pool, tmp_path, make_wheel(NAME)).faults) == []


def test_several_at_once(start: Start, tmp_path: Path) -> None:
    pool = start(workers=2)
    path = tmp_path / NAME
    path.write_bytes(make_wheel(NAME))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: pool.check(path, parse_name(NAME)), range(40)))
    assert [list(answer.faults) for answer in answers] == [[]] * 40


@pytest.mark.slow  # it starts a process for each
@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"the worker process failed \(exit code -9\)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"the worker process failed \(exit code -11\)"),
        ("os._exit(3)", r"the worker process failed \(exit code 3\)"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", "more than 6 seconds of CPU"),
        ("time.sleep(60)", "more than 0.3 seconds"),
        ("worker.send(channel, {}, bytes(64 << 20)); time.sleep(60)", "the worker process failed"),
        ("channel.sendall(b'xxxx')", "the worker process failed"),
    ],
)
def test_what_ends_a_worker_is_a_reason(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, reason: str
) -> None:
    if act == "time.sleep(60)":
        monkeypatch.setattr(pools, "WALL_SECONDS", 0.3)
        monkeypatch.setattr(pools, "WALL_PER_CPU", 0)
    pool = start(sys.executable, "-c", PUPPET.format(act=act))
    for _ in range(2):  # the second time in a new process
        (line,) = check(pool, tmp_path, make_wheel(NAME)).faults
        assert line.startswith("checking it costs too much: ")
        assert re.search(reason, line), line


def test_cpu_is_limited_by_the_kernel(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CPU_SECONDS", 0)
    monkeypatch.setattr(pools, "CPU_SECONDS_PER_MB", 0)
    data = make_wheel(NAME, files={f"demo/f{number}": b"" for number in range(150_000)})
    (line,) = check(start(), tmp_path, data).faults
    assert "seconds of CPU" in line


def test_memory_is_limited_by_the_kernel(start: Start, tmp_path: Path) -> None:
    act = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28)); bytearray(1 << 29)"
    pool = start(sys.executable, "-c", PUPPET.format(act=act))
    (line,) = check(pool, tmp_path, make_wheel(NAME)).faults
    assert line.startswith("checking it costs too much")


def test_a_worker_holds_no_credentials(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    act = f"open({str(tmp_path / 'seen')!r}, 'w').write(repr(dict(os.environ)))"
    check(start(sys.executable, "-c", PUPPET.format(act=act)), tmp_path, make_wheel(NAME))
    assert "PATH" in (tmp_path / "seen").read_text()
    assert "AWS" not in (tmp_path / "seen").read_text()


def test_no_worker_that_starts(start: Start, tmp_path: Path) -> None:
    for command in (("/nowhere/python",), (sys.executable, "-c", "raise SystemExit(3)")):
        with pytest.raises(NotNowError, match="cannot check wheels now"):
            check(start(*command), tmp_path, make_wheel(NAME))
