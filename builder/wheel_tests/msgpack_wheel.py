"""Runs inside the emulated environment: is the extension used, and are its bytes those of the format?"""

import json
import sys
import time


def check_extension() -> tuple[bool, str]:
    import msgpack

    module = msgpack.Packer.__module__
    return module == "msgpack._cmsgpack", f"Packer comes from {module}"


def check_bytes() -> tuple[bool, str]:
    import msgpack

    # Examples from the MessagePack specification's format overview.
    stored = {
        b"\xc0": None,
        b"\x82\xa7compact\xc3\xa6schema\x00": {"compact": True, "schema": 0},
        b"\xcd\x01\x00": 256,
        b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00": 1.5,
        b"\xc4\x03abc": b"abc",
    }
    wrong = [
        raw for raw, value in stored.items() if msgpack.packb(value) != raw or msgpack.unpackb(raw) != value
    ]
    return not wrong, f"{len(stored)} stored encodings" if not wrong else f"wrong: {wrong}"


def check_round_trip() -> tuple[bool, str]:
    import msgpack

    data = {
        "list": list(range(-3000, 3000)),
        "text": "é" * 5000,
        "nested": [[{"a": [1.25, None, True]}] * 50],
    }
    return msgpack.unpackb(msgpack.packb(data)) == data, "a nested structure of 6,000 numbers"


def main() -> None:
    wrong = 0
    for name in ("extension", "bytes", "round_trip"):
        start = time.monotonic()
        try:
            passed, detail = globals()[f"check_{name}"]()
        except Exception as error:
            passed, detail = False, f"{type(error).__name__}: {error}"
        wrong += not passed
        line = {"check": name, "passed": bool(passed), "detail": detail, "seconds": time.monotonic() - start}
        print(json.dumps(line), flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
