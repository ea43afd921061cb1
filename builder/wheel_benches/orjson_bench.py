"""orjson: reading and writing records, numbers and text."""

from collections.abc import Callable
from typing import Any

from kit import Run, Workload, main


def _records() -> Any:
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


def _numbers() -> Any:
    return [n * 2654435761 % 2**32 for n in range(3000)] + [n / 7 for n in range(3000)]


def _texts() -> Any:
    return ["é" * (n % 50) + "plain text " * (n % 7) for n in range(1000)]


def _writing(make: Callable[[], Any]) -> Callable[[], Run]:
    def prepare() -> Run:
        import orjson

        data = make()
        return lambda: orjson.dumps(data)

    return prepare


def _reading(make: Callable[[], Any]) -> Callable[[], Run]:
    def prepare() -> Run:
        import orjson

        text = orjson.dumps(make())
        return lambda: orjson.loads(text)

    return prepare


WORKLOADS = (
    Workload("dumps-records", "300 maps of six keys", _writing(_records)),
    Workload("dumps-numbers", "3,000 integers and 3,000 fractions", _writing(_numbers)),
    Workload("dumps-texts", "1,000 texts of up to 170 bytes", _writing(_texts)),
    Workload("loads-records", "300 maps of six keys", _reading(_records)),
    Workload("loads-numbers", "3,000 integers and 3,000 fractions", _reading(_numbers)),
    Workload("loads-texts", "1,000 texts of up to 170 bytes", _reading(_texts)),
)

if __name__ == "__main__":
    main("orjson", WORKLOADS)
