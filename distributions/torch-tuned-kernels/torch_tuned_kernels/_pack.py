"""Loads the library and asks it to take over or to give back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

_found = find_spec("torch_tuned_kernels._C")
if _found is None or _found.origin is None:
    raise ImportError("torch_tuned_kernels was installed without its library")
torch.ops.load_library(_found.origin)
_ops = torch.ops.torch_tuned_kernels

_why = ["not taken over yet"]


def take_over() -> bool:
    """Replace PyTorch's kernels, unless this CPU lacks what ours were compiled for. Returns whether it did."""
    _why[0] = _ops.take_over()
    return not _why[0]


def give_back() -> None:
    """Leave PyTorch with its own kernels, as it was before."""
    _ops.give_back()
    _why[0] = "given back"


@contextmanager
def stock() -> Iterator[None]:
    """Run the block with PyTorch's own kernels, in all threads."""
    before = taken_over()
    give_back()
    try:
        yield
    finally:
        if before:
            take_over()


def taken_over() -> tuple[str, ...]:
    """The operations of ``torch.ops.aten`` whose CPU kernels are replaced, by name and overload."""
    return tuple(_ops.taken_over())


def calls(operation: str) -> int:
    """How many calls of an operation ours have served; others went on to PyTorch's kernel.

    Raises:
        RuntimeError: the operation is not taken over.
    """
    return int(_ops.calls(operation))


def why_not() -> str:
    """Why nothing is taken over; empty if something is."""
    return _why[0]


def compiled_to() -> tuple[str, ...]:
    """Which instructions each family of kernels was compiled to."""
    return tuple(_ops.compiled_to())


def start() -> None:
    """What loading does: take over, unless the environment says not to."""
    if os.environ.get("TORCH_TUNED_KERNELS", "1") == "0":
        _why[0] = "switched off by TORCH_TUNED_KERNELS=0"
    else:
        take_over()
