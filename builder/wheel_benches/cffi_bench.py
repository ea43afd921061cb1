"""cffi: calls into C, calls back from it, and data that both sides see."""

from typing import Any

from kit import Run, Workload, main

_DECLARED = """
typedef struct { int quot; int rem; } div_t;
typedef struct { char name[16]; double weight; int parts[8]; } item;
int abs(int n);
div_t div(int numerator, int denominator);
double ldexp(double x, int exponent);
size_t strlen(const char *text);
void qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *));
"""
_CALLS = 500


def _opened() -> tuple[Any, Any]:
    import cffi

    ffi = cffi.FFI()
    ffi.cdef(_DECLARED)
    return ffi, ffi.dlopen(None)


def _integers() -> Run:
    absolute = _opened()[1].abs
    return lambda: [absolute(n) for n in range(-_CALLS, 0)]


def _doubles() -> Run:
    scale = _opened()[1].ldexp
    return lambda: [scale(1.5, n & 7) for n in range(_CALLS)]


def _strings() -> Run:
    length = _opened()[1].strlen
    return lambda: [length(b"a text of 24 characters.") for _ in range(_CALLS)]


def _structures() -> Run:
    divide = _opened()[1].div
    return lambda: [divide(n, 7).rem for n in range(_CALLS)]


def _callback() -> Run:
    ffi, library = _opened()

    def compare(left: object, right: object) -> int:
        return int(ffi.cast("int *", left)[0] - ffi.cast("int *", right)[0])

    called = ffi.callback("int(const void *, const void *)", compare)

    def run() -> None:
        numbers = ffi.new("int[]", [n * 37 % 64 for n in range(64)])
        library.qsort(numbers, 64, 4, called)

    return run


def _new() -> Run:
    ffi, _ = _opened()
    return lambda: [ffi.new("item *", {"weight": 1.5, "parts": [1, 2, 3]}).parts[2] for _ in range(100)]


def _declaring() -> Run:
    import cffi

    def run() -> None:
        cffi.FFI().cdef("enum colour { RED, GREEN }; struct point { int x, y; enum colour c; };")

    return run


WORKLOADS = (
    Workload("call-integers", "500 calls with an int", _integers),
    Workload("call-doubles", "500 calls with a double and an int", _doubles),
    Workload("call-strings", "500 calls with bytes", _strings),
    Workload("call-structures", "500 calls that return a structure", _structures),
    Workload("callback", "a sort of 64 integers that calls back", _callback),
    Workload("new", "100 structures made and read", _new),
    Workload("cdef", "declarations parsed", _declaring),
)

if __name__ == "__main__":
    main("cffi", WORKLOADS)
