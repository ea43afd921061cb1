"""MessagePack: packing and unpacking small objects, numbers and text."""

from collections.abc import Callable
from typing import Any

from kit import Run, Workload, main


def _records() -> Any:
    """Maps with short keys, as services exchange them."""
    return [
        {
            "id": n,
            "name": f"record {n}",
            "tags": ["a", "b", "c"],
            "ok": n % 2 == 0,
            "score": n / 7,
            "of": None,
        }
        for n in range(300)
    ]


def _integers() -> Any:
    return [n * 2654435761 % 2**32 for n in range(5000)]


def _texts() -> Any:
    return ["é" * (n % 50) for n in range(2000)]


def _packing(make: Callable[[], Any]) -> Callable[[], Run]:
    def prepare() -> Run:
        import msgpack

        data = make()
        return lambda: msgpack.packb(data)

    return prepare


def _unpacking(make: Callable[[], Any]) -> Callable[[], Run]:
    def prepare() -> Run:
        import msgpack

        packed = msgpack.packb(make())
        return lambda: msgpack.unpackb(packed)

    return prepare


WORKLOADS = (
    Workload("packb-records", "300 maps of six keys", _packing(_records)),
    Workload("packb-integers", "5,000 integers of 32 bits", _packing(_integers)),
    Workload("packb-texts", "2,000 texts of up to 100 bytes", _packing(_texts)),
    Workload("unpackb-records", "300 maps of six keys", _unpacking(_records)),
    Workload("unpackb-integers", "5,000 integers of 32 bits", _unpacking(_integers)),
    Workload("unpackb-texts", "2,000 texts of up to 100 bytes", _unpacking(_texts)),
)

if __name__ == "__main__":
    main("msgpack", WORKLOADS)
