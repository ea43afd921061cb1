"""Runs inside the emulated environment: does it read and write JSON as RFC 8259 and Python's own module have it?"""

import datetime
import json
import uuid

from kit import report


def check_extension() -> tuple[bool, str]:
    import orjson

    return orjson.dumps.__module__ == "orjson" and orjson.loads("1") == 1, f"orjson {orjson.__version__}"


def check_round_trip() -> tuple[bool, str]:
    import orjson

    data = {
        "texts": ["", "é", "猫", "\U0001f600", "a\x00b", "x" * 300, '"\\/\b\f\n\r\t'],
        "numbers": [0, -1, 2**53, -(2**63), 2**64 - 1, 0.1, -1e-7, 1.7976931348623157e308, 5e-324],
        "others": [None, True, False, [], {}, [[[1]]]],
    }
    text = orjson.dumps(data)
    return orjson.loads(text) == data == json.loads(text), f"{len(text)} bytes, read alike by both"


def check_types() -> tuple[bool, str]:
    import orjson

    moment = datetime.datetime(2026, 11, 28, 9, 5, tzinfo=datetime.UTC)
    found = orjson.dumps([moment, uuid.UUID(int=7)])
    wanted = b'["2026-11-28T09:05:00+00:00","00000000-0000-0000-0000-000000000007"]'
    return found == wanted, found.decode()


def check_refusals() -> tuple[bool, str]:
    import orjson

    read = []
    for text in (b"[1,]", b'{"a":1', b"01", b"NaN", b'"\xff"', b"[" * 2000):
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        read.append(text[:10])
    return not read, f"read, but no JSON: {read}" if read else "six faulty texts refused"


if __name__ == "__main__":
    report(
        {
            "extension": check_extension,
            "round_trip": check_round_trip,
            "types": check_types,
            "refusals": check_refusals,
        },
        vital="extension",
    )
