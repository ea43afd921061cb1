"""Runs inside the emulated environment: does the C parser read, and write, what the specification shows?"""

from kit import report

# Example 2.27, "Invoice", of the YAML 1.1 specification, without its anchors' second use.
INVOICE = """--- !!map
invoice: 34843
date: 2001-01-23
bill-to: &id001
  given: Chris
  family: Dumars
  address:
    lines: |
      458 Walkman Dr.
      Suite #292
    postal: 48046
ship-to: *id001
product:
  - {sku: BL394D, quantity: 4, price: 450.00}
  - {sku: BL4438H, quantity: 1, price: 2392.00}
"""


def check_library() -> tuple[bool, str]:
    import yaml

    version = yaml._yaml.get_version_string()
    return bool(yaml.__with_libyaml__), f"libyaml {version}"


def check_example() -> tuple[bool, str]:
    import yaml

    read = yaml.load(INVOICE, Loader=yaml.CSafeLoader)
    same = read == yaml.load(INVOICE, Loader=yaml.SafeLoader) and read["ship-to"] is read["bill-to"]
    lines = read["bill-to"]["address"]["lines"]
    return same and lines.endswith("Suite #292\n"), f"both parsers read {len(read)} keys alike"


def check_round_trip() -> tuple[bool, str]:
    import yaml

    data = {"text": "é\n: #", "numbers": [1, 2.5, None, True], "nested": [{"a": {"b": [b"\x00\xff"]}}] * 20}
    text = yaml.dump(data, Dumper=yaml.CSafeDumper, allow_unicode=True)
    return yaml.load(text, Loader=yaml.CSafeLoader) == data, f"{len(text)} characters, read back"


def check_refusal() -> tuple[bool, str]:
    import yaml

    try:
        yaml.load("a: [1, 2", Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        return isinstance(error, yaml.parser.ParserError), str(error.problem)
    return False, "a list without an end was read"


if __name__ == "__main__":
    report(
        {
            "library": check_library,
            "example": check_example,
            "round_trip": check_round_trip,
            "refusal": check_refusal,
        },
        vital="library",
    )
