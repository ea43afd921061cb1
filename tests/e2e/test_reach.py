"""What the audit finds in compiled C: code of an import, of methods, behind tests of the CPU and pointers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from builder.audit import elf, open_wheel
from builder.audit.checks import check_machine
from builder.audit.decode import Mask, Words
from builder.audit.reach import Rank, Reach, Reached
from builder.audit.report import judge
from builder.compile.compilers.zig import zig_cache
from builder.cpus import load_targets
from builder.model.expectations import Expectations
from builder.toolbox.toolbox import Toolbox
from tests.helpers.elf_builder import make_wheel

LDADD = 0xB8200041  # ldadd w0, w1, [x2], an instruction of LSE
PRELUDE = f"""
#define LATER __attribute__((noinline, used)) static void
#define RUN __asm__ volatile(".inst {LDADD:#x}" ::: "memory", "w1")
extern unsigned long getauxval(unsigned long);
extern void *PyModuleDef_Init(void *), *PyErr_Occurred(void);
typedef struct {{ const char *name; void *function; int flags; const char *doc; }} Method;
typedef struct {{ int slot; void *function; }} Slot;
typedef struct {{ const char *name; void *get, *set; const char *doc; void *closure; }} Attribute;
typedef struct {{
    long count; void *type; long size; const char *name; long basic, item; void *first[6], *numbers, *more[8];
    unsigned long flags; const char *doc; void *rest[16], *new, *last[12];
}} Type;
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


class Ranked(Protocol):
    """Compiles C with further options, and returns when the instruction of one function runs."""

    def __call__(self, source: str, function: str | None, *extra: str) -> Reached: ...


@pytest.fixture
def ranked(toolbox: Toolbox, tmp_path: Path) -> Ranked:
    def compiled(source: str, function: str | None, *extra: str) -> Reached:
        path, library = tmp_path / "m.c", tmp_path / "m.so"
        path.write_text(source, encoding="utf-8")
        cache = str(zig_cache(toolbox.home))
        options = "-target aarch64-linux-gnu.2.28 -mcpu=generic -O2 -g0 -fPIC -shared -nostdlib"
        subprocess.run(
            [str(toolbox.zig()), "cc", *options.split(), *extra, "-o", str(library), str(path)],
            env={"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, "PATH": "/usr/bin:/bin"},
            check=True,
        )
        one = elf.read("m.so", library.read_bytes())
        (code,) = (part for part in one.code() if part.section == ".text")
        found = np.flatnonzero(code.words == LDADD).astype(np.uint64) * np.uint64(4) + np.uint64(code.address)
        assert len(found), "the compiler left the instruction out"
        every = Reach([one], {"m.so": found}).rank("m.so", found)
        return next(reached for reached in every if function in {reached.function, None})

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


def test_a_short_function_that_others_call_too_is_no_probe(ranked: Ranked) -> None:
    source = f"""
    extern void sigaction(void);
    __attribute__((naked, noinline, used)) static void probe(void) {{ __asm__(".inst {LDADD:#x}\\nret"); }}
    void elsewhere(void) {{ sigaction(); }}
    __attribute__((constructor)) static void start(void) {{ PyErr_Occurred(); probe(); PyErr_Occurred(); }}
    """
    assert ranked(PRELUDE + source, "probe").rank is Rank.IMPORT


ASKS = "__attribute__((noinline)) static"


@pytest.mark.parametrize(
    ("asks", "test", "rank"),
    [
        # It says whether it succeeded, and keeps the answer elsewhere.
        ("int asked(void) { capabilities = getauxval(16); return PyErr_Occurred() ? -1 : 0; }", "< 0", Rank.IMPORT),
        ("void *asked(void) { capabilities = getauxval(16); return PyModuleDef_Init(0); }", "== 0", Rank.IMPORT),
        ("int asked(void) { if (!other) return 1; other = getauxval(16); return 0; }", "!= 0", Rank.IMPORT),
        # It says what the CPU has.
        ("int asked(void) { return getauxval(16) & 256 ? 0 : -1; }", "< 0", Rank.CHOSEN),
        ("int asked(void) { if (getauxval(16) & 256) { other = 1; return 0; } other = 2; return -1; }", "< 0",
         Rank.CHOSEN),
        ("int asked(void) { int a = 0; if (getauxval(16) & 256) { a = 1; PyErr_Occurred(); } return a; }", "== 0",
         Rank.CHOSEN),
    ],
)  # fmt: skip
def test_success_of_a_question_is_no_answer(ranked: Ranked, asks: str, test: str, rank: Rank) -> None:
    """NumPy's modules ask at import, and end if that failed."""
    source = f"""
    extern int other;
    LATER fast(void) {{ RUN; }}
    {ASKS} {asks}
    void *start(void) {{ return asked() {test} ? 0 : (fast(), PyErr_Occurred()); }}
    void *PyInit_own(void) {{ if (asked() {test}) return 0; fast(); return PyModuleDef_Init(0); }}
    """
    assert ranked(PRELUDE + source, "fast").rank is rank


@pytest.mark.parametrize(
    ("keeps", "rank"),
    [
        ("capabilities = getauxval(16); done = 1;", Rank.IMPORT),
        ("capabilities = getauxval(16); if (capabilities & 256) done = 1;", Rank.CHOSEN),
    ],
)
def test_a_note_that_the_question_was_asked_is_no_answer(ranked: Ranked, keeps: str, rank: Rank) -> None:
    source = f"""
    LATER fast(void) {{ RUN; }}
    static volatile int done;
    {ASKS} void asked(void) {{ {keeps} }}
    __attribute__((constructor, used)) static void start(void) {{ if (!done) asked(); if (done) fast(); }}
    """
    assert ranked(PRELUDE + source, "fast").rank is rank


def test_an_object_on_the_stack_may_hold_the_answer(ranked: Ranked) -> None:
    """V8 has such a class."""
    source = """
    typedef struct { long other; int fast, slow; } Cpu;
    LATER fast(void) { RUN; }
    __attribute__((noinline)) static void asked(Cpu *cpu) { cpu->fast = getauxval(16) >> 8 & 1; cpu->slow = 1; }
    __attribute__((constructor, used)) static void start(void) {
        Cpu cpu;
        asked(&cpu);
        if (cpu.fast) fast();
    }
    """
    assert ranked(PRELUDE + source, "fast").rank is Rank.CHOSEN


@pytest.mark.parametrize("strip", ["-Wl,--strip-debug", "-Wl,--strip-all"])
def test_the_question_for_outline_atomics_chooses_nothing_else(ranked: Ranked, strip: str) -> None:
    """Compilers link it into most files."""
    source = (
        SILENT.replace("capabilities = 0;", "")
        + """
    __attribute__((visibility("hidden"))) char __aarch64_have_lse_atomics;
    __attribute__((constructor)) static void init_have_lse_atomics(void) {
        __aarch64_have_lse_atomics = getauxval(16) >> 8 & 1;
    }
    LATER fast(void) { RUN; }
    void (*kernel)(void) = fast;
    """
    )
    assert ranked(source, None, strip).rank is Rank.CALLED


def test_the_loader_runs_resolvers_of_ifuncs(ranked: Ranked) -> None:
    source = """
    LATER early(void) { RUN; }
    LATER slow(void) { __asm__ volatile("nop"); }
    __attribute__((used)) static void *resolve(void) { early(); return slow; }
    static void chosen(void) __attribute__((ifunc("resolve")));
    void (*keep)(void) = chosen;
    """
    assert ranked(PRELUDE + source, "early").rank is Rank.IMPORT


def test_a_resolver_is_told_what_the_cpu_has(ranked: Ranked) -> None:
    source = """
    LATER fast(void) { RUN; }
    LATER slow(void) { __asm__ volatile("nop"); }
    __attribute__((used)) static void *resolve(unsigned long has) { return has & 256 ? fast : slow; }
    static void chosen(void) __attribute__((ifunc("resolve")));
    void (*keep)(void) = chosen;
    """
    assert ranked(SILENT + source, "fast").rank is Rank.CHOSEN


def test_a_destructor_runs_when_the_process_ends(ranked: Ranked) -> None:
    source = "LATER late(void) { RUN; }\n__attribute__((destructor)) static void end(void) { late(); }"
    assert ranked(PRELUDE + source, "late") == Reached(Rank.CALLED, "late", "end")


@pytest.mark.parametrize(
    "table",
    [
        'Attribute rows[] = {{"x", method, 0}, {0}};',
        'Attribute rows[] = {{"x", 0}, {"y", ask, method, "doc", 0}, {0}};',
        'Type type = {1, 0, 0, "m.T", 16, 0, {0}, 0, {0}, 1 << 10, "doc", {0}, method};',
        'void *numbers[36] = {0, 0, method}; Type type = {1, 0, 0, "m.T", 16, 0, {0}, numbers};',
    ],
    ids=["getter", "setter", "static type", "numbers"],
)
def test_attributes_and_static_types_run_when_python_calls_them(ranked: Ranked, table: str) -> None:
    assert ranked(f"{PRELUDE}LATER method(void) {{ RUN; }}\n{table}", "method") == Reached(
        Rank.CALLED, "method", "Python"
    )


def test_a_call_through_the_table_of_addresses_is_a_call(ranked: Ranked) -> None:
    """Compilers write such calls with -fno-plt."""
    source = """
    void early(void) { RUN; }
    __attribute__((constructor, used)) static void start(void) {
        __asm__ volatile("adrp x8, :got:early\\n ldr x8, [x8, :got_lo12:early]\\n nop\\n blr x8" ::: "x8", "x30");
    }
    """
    assert ranked(PRELUDE + source, "early") == Reached(Rank.IMPORT, "early", "start")


FAR = "adrp x16, {0}\\n add x16, x16, :lo12:{0}\\n br x16"


def test_a_far_jump_leads_on(ranked: Ranked) -> None:
    """Linkers write such jumps in a large file."""
    source = f"""
    LATER early(void) {{ RUN; }}
    __attribute__((naked, noinline, used)) static void far(void) {{ __asm__("{FAR.format("early")}"); }}
    __attribute__((constructor, used)) static void start(void) {{ far(); PyErr_Occurred(); }}
    """
    assert ranked(PRELUDE + source, "early") == Reached(Rank.IMPORT, "early", "far")


def test_what_is_left_of_a_moved_function_is_not_reached(ranked: Ranked) -> None:
    """BOLT moves functions, and writes a jump over the first words of the old one."""
    source = f"""
    LATER moved(void) {{ PyErr_Occurred(); }}
    __attribute__((naked, noinline, used)) static void old(void) {{
        __asm__("{FAR.format("moved")}\\n .inst {LDADD:#x}\\n ret");
    }}
    __attribute__((constructor, used)) static void start(void) {{ old(); PyErr_Occurred(); }}
    """
    assert ranked(PRELUDE + source, "old").rank is Rank.UNREACHED


BARE = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-Wl,--strip-all")


def test_a_jump_leads_to_code_without_name_and_unwinding(ranked: Ranked) -> None:
    source = PRELUDE.replace("return PyModuleDef_Init(0);", "return early();").replace(
        "void *PyInit_m",
        """
        __attribute__((noinline, used)) static void *early(void) { PyErr_Occurred(); RUN; return PyErr_Occurred(); }
        LATER between(void) { PyErr_Occurred(); PyErr_Occurred(); }
        void *PyInit_m""",
    )
    reached = ranked(source + "\nvoid (*keep)(void) = between;", None, *BARE)
    assert (reached.rank, reached.caller) == (Rank.IMPORT, "PyInit_m")


def test_code_without_name_and_unwinding_that_a_pointer_leads_to_is_called(ranked: Ranked) -> None:
    source = (
        SILENT.replace("capabilities = 0;", "")
        .replace("PyErr_Occurred();", "sort(table, compare);")
        .replace(
            "void *PyInit_m",
            """
        extern void sort(int *, void *);
        extern int table[9];
        __attribute__((noinline)) static int compare(void *one, void *other) { RUN; return 1; }
        void *PyInit_m""",
        )
    )
    assert ranked(source, None, *BARE).rank is Rank.CALLED


def test_code_in_a_section_of_data_is_a_fault(ranked: Ranked, toolbox: Toolbox, tmp_path: Path) -> None:
    """The loader goes by segments, and runs it."""
    ranked(PRELUDE + "LATER method(void) { RUN; }", "method")
    flags = "--set-section-flags=.text=alloc,readonly,data"
    subprocess.run([str(toolbox.llvm("llvm-objcopy")), flags, str(tmp_path / "m.so")], check=True)
    one = elf.read("m.so", (tmp_path / "m.so").read_bytes())
    assert "method" in one.unjudged_functions()
    verdict = check_machine(open_wheel(make_wheel(tmp_path, {"m/m.so": one.image})), [one], {})
    assert verdict.outcome == "fail"
    assert "in no section of code" in verdict.detail


class Everything:
    """A decoder that takes some words for those of extensions, so that all parts of an audit have work."""

    def decodable(self, words: Words, cpu: str, attributes: tuple[str, ...] = ()) -> Mask:
        mask: Mask = words * np.uint32(2654435761) >> np.uint32(29) != 0 if not attributes else words != 0
        return mask


@pytest.mark.parametrize("value", [0, 1, 19, 2**31, 2**40, 2**63 - 1, 2**64 - 1])
def test_a_damaged_file_gets_a_verdict(ranked: Ranked, tmp_path: Path, value: int) -> None:
    """Each 8 bytes of each header and of each table, one after the other."""
    table = 'Method methods[] = {{"m", method, 1, 0}, {0}};\nSlot slots[] = {{2, method}, {0, 0}};'
    ranked(f"{PRELUDE}LATER method(void) {{ RUN; }}\n{table}", "method")
    whole = (tmp_path / "m.so").read_bytes()
    target = load_targets()["generic"]
    starts = [*range(8, 64, 8), *range(64, len(whole), 8)]
    for start in starts:
        damaged = whole[:start] + value.to_bytes(8, "little") + whole[start + 8 :]
        wheel = make_wheel(tmp_path, {"m/m.cpython-311-aarch64-linux-gnu.so": damaged})
        checks = {
            one.check for one in judge(open_wheel(wheel), target, Expectations(), Everything()).verdicts
        }
        assert "instructions" in checks
