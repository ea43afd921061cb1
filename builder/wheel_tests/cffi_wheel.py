"""Runs inside the emulated environment: do calls into C, and back from it, pass all kinds of values?"""

from kit import report

_COMPARE = "int(const void *, const void *)"


def check_library() -> tuple[bool, str]:
    import _cffi_backend
    import cffi

    return _cffi_backend.__version__ == cffi.__version__, f"backend {_cffi_backend.__version__}"


def check_calls() -> tuple[bool, str]:
    import cffi

    ffi = cffi.FFI()
    ffi.cdef(
        """
        typedef struct { int quot; int rem; } div_t;
        div_t div(int numerator, int denominator);
        double ldexp(double x, int exponent);
        size_t strlen(const char *text);
        int snprintf(char *text, size_t size, const char *format, ...);
        """
    )
    library = ffi.dlopen(None)
    parts = library.div(17, 5)  # a structure by value
    text = ffi.new("char[]", 64)
    library.snprintf(
        text, 64, b"%d %s %.2f", ffi.cast("int", 7), ffi.new("char[]", b"of"), ffi.cast("double", 2.5)
    )
    found = (parts.quot, parts.rem, library.ldexp(0.75, 3), library.strlen(b"armwheels"), ffi.string(text))
    return found == (3, 2, 6.0, 9, b"7 of 2.50"), str(found)


def check_callback() -> tuple[bool, str]:
    import cffi

    ffi = cffi.FFI()
    ffi.cdef("void qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *));")
    calls = 0

    def compare(left: object, right: object) -> int:
        nonlocal calls
        calls += 1
        return int(ffi.cast("int *", left)[0] - ffi.cast("int *", right)[0])

    numbers = ffi.new("int[]", [5, -3, 9, 0, 7, -8, 2, 1])
    ffi.dlopen(None).qsort(numbers, 8, ffi.sizeof("int"), ffi.callback(_COMPARE, compare))
    return list(numbers) == [-8, -3, 0, 1, 2, 5, 7, 9], f"sorted by {calls} calls back"


def check_layout() -> tuple[bool, str]:
    import cffi

    ffi = cffi.FFI()
    ffi.cdef("struct mixed { char a; double b; short c; int d : 5; unsigned e : 27; long double f; };")
    # Procedure Call Standard for the Arm 64-bit Architecture, "Data types and alignment".
    found = (ffi.sizeof("struct mixed"), ffi.offsetof("struct mixed", "b"), ffi.offsetof("struct mixed", "f"))
    return found == (48, 8, 32), f"size and offsets {found}"


if __name__ == "__main__":
    report(
        {
            "library": check_library,
            "calls": check_calls,
            "callback": check_callback,
            "layout": check_layout,
        },
        vital="library",
    )
