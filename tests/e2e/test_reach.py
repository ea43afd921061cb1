"""What the audit finds in compiled C: code of an import, of methods, behind tests of the CPU and pointers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builder.audit import elf
from builder.audit.reach import Rank, Reach, Reached
from builder.compile.compilers.zig import zig_cache
from builder.toolbox.toolbox import Toolbox

LDADD = 0xB8200041  # ldadd w0, w1, [x2], an instruction of LSE
PRELUDE = f"""
#define LATER __attribute__((noinline, used)) static void
#define RUN __asm__ volatile(".inst {LDADD:#x}" ::: "memory", "w1")
extern unsigned long getauxval(unsigned long);
extern void *PyModuleDef_Init(void *), *PyErr_Occurred(void);
typedef struct {{ const char *name; void *function; int flags; const char *doc; }} Method;
typedef struct {{ int slot; void *function; }} Slot;
static unsigned long capabilities;
__attribute__((constructor)) static void ask(void) {{ capabilities = getauxval(16); }}
void *PyInit_m(void) {{ PyErr_Occurred(); return PyModuleDef_Init(0); }}
"""
SILENT = PRELUDE.replace("capabilities = getauxval(16);", "capabilities = 0;")
CHOSEN = """
LATER fast(void) { RUN; }
LATER slow(void) { __asm__ volatile("nop"); }
void (*kernel)(void);
__attribute__((constructor)) static void choose(void) { kernel = capabilities & 256 ? fast : slow; }
"""

Ranked = Callable[[str, str], Reached]


@pytest.fixture
def ranked(toolbox: Toolbox, tmp_path: Path) -> Ranked:
    """Compiles C, and returns when the instruction of one function runs."""

    def compiled(source: str, function: str) -> Reached:
        path, library = tmp_path / "m.c", tmp_path / "m.so"
        path.write_text(source, encoding="utf-8")
        cache = str(zig_cache(toolbox.home))
        options = "-target aarch64-linux-gnu.2.28 -mcpu=generic -O2 -g0 -fPIC -shared -nostdlib"
        subprocess.run(
            [str(toolbox.zig()), "cc", *options.split(), "-o", str(library), str(path)],
            env={"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, "PATH": "/usr/bin:/bin"},
            check=True,
        )
        one = elf.read("m.so", library.read_bytes())
        (code,) = (part for part in one.code() if part.section == ".text")
        found = np.flatnonzero(code.words == LDADD).astype(np.uint64) * np.uint64(4) + np.uint64(code.address)
        assert len(found), "the compiler left the instruction out"
        every = Reach([one], {"m.so": found}).rank("m.so", found)
        return next(reached for reached in every if reached.function == function)

    return compiled


def test_a_constructor_and_what_it_calls_run_at_import(ranked: Ranked) -> None:
    source = "LATER early(void) { RUN; }\n__attribute__((constructor)) static void start(void) { early(); }"
    assert ranked(PRELUDE + source, "early") == Reached(Rank.IMPORT, "early", "start")


def test_what_the_module_calls_runs_at_import(ranked: Ranked) -> None:
    source = SILENT.replace("PyErr_Occurred();", "helper();").replace(
        "void *PyInit_m", "LATER helper(void) { RUN; }\nvoid *PyInit_m"
    )
    assert ranked(source, "helper") == Reached(Rank.IMPORT, "helper", "PyInit_m")


def test_the_functions_of_module_slots_run_at_import(ranked: Ranked) -> None:
    source = "LATER execute(void) { RUN; }\nSlot slots[] = {{2, execute}, {0, 0}};"
    assert ranked(PRELUDE + source, "execute") == Reached(Rank.IMPORT, "execute", "Python")


@pytest.mark.parametrize(
    "table",
    [
        'Method methods[] = {{"m", method, 1, 0}, {0}};',
        "Slot slots[] = {{65, method}, {66, method}, {0, 0}};",
    ],
)
def test_methods_and_type_slots_run_when_python_calls_them(ranked: Ranked, table: str) -> None:
    assert ranked(f"{PRELUDE}LATER method(void) {{ RUN; }}\n{table}", "method") == Reached(
        Rank.CALLED, "method", "Python"
    )


def test_a_kernel_behind_a_pointer_is_chosen(ranked: Ranked) -> None:
    assert ranked(PRELUDE + CHOSEN, "fast") == Reached(Rank.CHOSEN, "fast", None)


def test_a_file_that_asks_nothing_chooses_nothing(ranked: Ranked) -> None:
    assert ranked(SILENT + CHOSEN, "fast").rank is Rank.CALLED


def test_a_struct_of_kernels_with_a_number_before_is_no_table_of_slots(ranked: Ranked) -> None:
    """MLAS of onnxruntime has such structs: sizes between pointers."""
    source = """
    LATER fast(void) { RUN; }
    LATER pack(void) { __asm__ volatile("nop"); }
    struct { long step; void *kernel; void *pack; long size; } kernels = {4, fast, pack, 16};
    """
    assert ranked(PRELUDE + source, "fast").rank is Rank.CHOSEN


@pytest.mark.parametrize(
    ("test", "rank"),
    [
        ("if (capabilities & 256) fast();", Rank.CHOSEN),
        ("if (!(capabilities & 256)) return; fast();", Rank.CHOSEN),
        ("if (has()) fast();", Rank.CHOSEN),
        ("if (getauxval(16) & 256) fast();", Rank.CHOSEN),
        ("unsigned long c = capabilities; if (!c) c = ask_again(); if (c & 256) fast();", Rank.CHOSEN),
        ("if (capabilities & 256 || ask_again() & 256) fast();", Rank.CHOSEN),
        ("if (table[other & 7]) fast();", Rank.CHOSEN),
        ("if (capabilities & 256) PyErr_Occurred(); fast();", Rank.IMPORT),
        ("if (other) fast();", Rank.IMPORT),
        ("fast();", Rank.IMPORT),
    ],
)
def test_only_a_test_of_the_cpu_guards(ranked: Ranked, test: str, rank: Rank) -> None:
    source = f"""
    extern int other;
    LATER fast(void) {{ RUN; }}
    static char table[8];
    __attribute__((constructor)) static void fill(void) {{ if (getauxval(16) & 2) table[3] = 1; table[other] = 1; }}
    __attribute__((noinline)) static unsigned long ask_again(void) {{ return capabilities = getauxval(16); }}
    __attribute__((noinline)) static int has(void) {{ return capabilities >> 8 & 1; }}
    __attribute__((constructor, used)) static void start(void) {{ {test} }}
    __attribute__((used)) static void *keep = has;
    """
    assert ranked(PRELUDE + source, "fast").rank is rank


def test_a_pointer_to_the_answer_may_wait_on_the_stack(ranked: Ranked) -> None:
    """faiss keeps it there over a loop."""
    source = """
    LATER fast(void) { RUN; }
    extern unsigned long level;
    unsigned long level;
    __attribute__((constructor)) static void set(void) { level = getauxval(16); }
    __attribute__((constructor, used)) static void start(void) {
        __asm__ volatile(
            "sub sp, sp, #48\\n adrp x0, :got:level\\n ldr x0, [x0, :got_lo12:level]\\n stp x1, x0, [sp, #16]\\n"
            "mov x0, #0\\n ldr x1, [sp, #24]\\n ldr w1, [x1]\\n add sp, sp, #48\\n cmp w1, #5\\n b.ne 1f\\n"
            "bl fast\\n1:" ::: "x0", "x1", "x30", "memory");
    }
    """
    assert ranked(PRELUDE + source, "fast").rank is Rank.CHOSEN


def test_a_jump_table_leads_to_tests_of_the_cpu(ranked: Ranked) -> None:
    """Code of Rust matches on a type, and then tests the CPU."""
    cases = "".join(f"case {n}: PyErr_Occurred(); other += {n * 7 + 1}; break;\n" for n in range(9))
    source = f"""
    extern volatile int other;
    LATER fast(void) {{ RUN; }}
    __attribute__((constructor, used)) static void start(void) {{
        switch (other) {{ {cases} case 9: if (capabilities & 256) fast(); break; }}
    }}
    """
    assert ranked(PRELUDE + source, "fast").rank is Rank.CHOSEN


def test_a_table_with_a_number_before_the_function_is_no_table_of_module_slots(ranked: Ranked) -> None:
    """Arm Compute Library has tables of methods with a number and a name."""
    source = """
    LATER fast(void) { RUN; }
    struct { long method; void *kernel; long name; void *other; } methods[] = {{2, fast, 77, 0}, {0, 0, 0, 0}};
    """
    assert ranked(PRELUDE + source, "fast").rank is Rank.CHOSEN


def test_a_file_most_of_whose_functions_need_it_was_compiled_for_it(ranked: Ranked) -> None:
    functions = "".join(f"LATER fast{n}(void) {{ RUN; }}\nvoid *keep{n} = fast{n};\n" for n in range(20))
    assert ranked(PRELUDE + functions, "fast3").rank is Rank.CALLED


def test_constants_between_the_code_are_not_reached(ranked: Ranked) -> None:
    source = f"""
    __attribute__((noinline, used)) static int pool(void) {{
        int found;
        __asm__ volatile("ldr %w0, 1f\\n b 2f\\n1: .inst {LDADD:#x}\\n2:" : "=r"(found));
        return found;
    }}
    __attribute__((constructor)) static void start(void) {{ pool(); }}
    """
    assert ranked(PRELUDE + source, "pool").rank is Rank.UNREACHED


@pytest.mark.parametrize(("catching", "rank"), [("sigaction", Rank.CHOSEN), ("raise", Rank.IMPORT)])
def test_a_probe_of_the_cpu_is_one_instruction_in_a_file_that_catches_signals(
    ranked: Ranked, catching: str, rank: Rank
) -> None:
    """OpenSSL tries single instructions so, where the kernel does not say what the CPU has."""
    source = f"""
    extern void {catching}(void);
    __attribute__((naked, noinline, used)) static void probe(void) {{ __asm__(".inst {LDADD:#x}\\nret"); }}
    __attribute__((constructor)) static void start(void) {{ {catching}(); probe(); }}
    """
    assert ranked(PRELUDE + source, "probe").rank is rank
