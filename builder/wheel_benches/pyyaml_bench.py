"""PyYAML: reading and writing with libyaml."""

from collections.abc import Callable
from typing import Any

from kit import Run, Workload, main


def _settings() -> Any:
    """Nested settings, as programs are configured with."""
    return {
        f"service-{n}": {
            "image": f"registry.example/app:{n}",
            "ports": [8000 + n, 9000 + n],
            "environment": {"MODE": "production", "WORKERS": n, "DEBUG": False, "RATIO": n / 7},
            "notes": f"first line {n}\nsecond line\n",
        }
        for n in range(12)
    }


def _records() -> Any:
    """A flat list of short strings and numbers."""
    return [{"id": n, "name": f"record {n}", "tags": ["a", "b"]} for n in range(60)]


def _loading(make: Callable[[], Any]) -> Callable[[], Run]:
    def prepare() -> Run:
        import yaml

        text = yaml.dump(make(), Dumper=yaml.CSafeDumper)
        return lambda: yaml.load(text, Loader=yaml.CSafeLoader)

    return prepare


def _dumping(make: Callable[[], Any]) -> Callable[[], Run]:
    def prepare() -> Run:
        import yaml

        data = make()
        return lambda: yaml.dump(data, Dumper=yaml.CSafeDumper)

    return prepare


def _parsing(make: Callable[[], Any]) -> Callable[[], Run]:
    def prepare() -> Run:
        import yaml

        text = yaml.dump(make(), Dumper=yaml.CSafeDumper)
        return lambda: list(yaml.parse(text, Loader=yaml.CSafeLoader))

    return prepare


WORKLOADS = (
    Workload("load-settings", "12 nested settings of ten values", _loading(_settings)),
    Workload("load-records", "60 records of five values", _loading(_records)),
    Workload("parse-settings", "the events of 12 nested settings", _parsing(_settings)),
    Workload("dump-settings", "12 nested settings of ten values", _dumping(_settings)),
    Workload("dump-records", "60 records of five values", _dumping(_records)),
)

if __name__ == "__main__":
    main("yaml", WORKLOADS)
