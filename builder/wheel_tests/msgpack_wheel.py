"""Runs inside the emulated environment: is the extension used, and are its bytes those of the format?"""

from kit import report


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


if __name__ == "__main__":
    report({"extension": check_extension, "bytes": check_bytes, "round_trip": check_round_trip})
