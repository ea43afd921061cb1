"""Ends the processes of a worker that died: see :func:`builder.compile.processes.ended_with_this_process`."""

from __future__ import annotations

import sys

from builder.compile.processes import end_owned

if __name__ == "__main__":
    sys.stdin.buffer.read()  # until the worker closes the pipe, or the kernel does when it dies
    end_owned(sys.argv[1])
