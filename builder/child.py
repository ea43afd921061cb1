"""Calls a function in a child process.

The folder, the umask and the environment belong to a whole process. auditwheel changes the folder, and repair needs
a umask and variables of its own: in a child process neither reaches the other threads of the builder.

Both ends are this module: the parent writes the pickled function to the child's standard input, the child answers
with pickled messages on its standard output. What the function prints goes to standard error.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, TypeVar, cast

from builder.errors import ArmwheelsError
from builder.settings import ROOT

Report = Callable[[str], None]
T = TypeVar("T")


def call_in_child(
    function: Callable[[Report], T],
    *,
    report: Report,
    failure: type[ArmwheelsError],
    variables: Mapping[str, str] | None = None,
) -> T:
    """Call ``function`` in a child process and return what it returns.

    ``function`` is a function that can be imported, or a :func:`functools.partial` of one. Its last argument is a
    function that passes lines on to ``report``. The umask is 022, and ``variables`` are added to the environment.
    An error of the function is raised again here, with its own class. Any error or interrupt here ends the child.

    Raises:
        ArmwheelsError: of the class ``failure``, the child ended without an answer, for example for want of memory.
    """
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **(variables or {})},
        # Where this package is found, whatever the folder of this process.
        cwd=ROOT,
        umask=0o022,
        # A terminal sends Ctrl-C to its whole process group: this process decides when the child ends.
        start_new_session=True,
    ) as process:
        try:
            # A child that cannot start says so on standard error and ends.
            with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as pipe:
                pickle.dump(function, pipe)
            answers = cast(IO[bytes], process.stdout)
            kind, value = _receive(answers)
            while kind == "report":
                report(value)
                kind, value = _receive(answers)
        except (EOFError, pickle.UnpicklingError):
            name = getattr(function, "func", function).__name__
            raise failure(f"the process of {name} ended with {process.wait()} and no result") from None
        except BaseException:
            process.kill()
            raise
    if kind == "error":
        raise value
    result: T = value
    return result


def _receive(answers: IO[bytes]) -> tuple[str, Any]:
    message: tuple[str, Any] = pickle.load(answers)  # noqa: S301 - written by this module
    return message


def _serve() -> None:
    """The child's side: read a function, call it, answer."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(kind: str, value: object) -> None:
        pickle.dump((kind, value), answers)
        answers.flush()

    function = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by this module
    try:
        result = function(lambda line: send("report", line))
    except BrokenPipeError:
        # The parent was killed.
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, ArmwheelsError):
            error.add_note("in the child process:\n" + traceback.format_exc())
        send("error", error)
    else:
        send("result", result)


if __name__ == "__main__":
    _serve()
