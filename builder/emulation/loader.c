/* The program interpreter of an emulated server: clears hardware capabilities, then starts the C library's loader.
 *
 * qemu-user starts it in place of the dynamic loader (PT_INTERP) and tells it in the auxiliary vector what the
 * emulated CPU model can do (getauxval(3)). It takes away what the server does not report, so that the C library's
 * own choice of functions, getauxval() and /proc/self/auxv see the server. Compiled with HWCAP and HWCAP2, the
 * capabilities of the server, and LOADER, the path of the loader. It calls no library: none is loaded yet.
 */
enum { OPENAT = 56, CLOSE = 57, PREAD64 = 67, EXIT = 93, MMAP = 222 };
enum { AT_FDCWD = -100, READ = 1, WRITE = 2, EXECUTE = 4, PRIVATE = 2, FIXED = 16, ANONYMOUS = 32 };
enum { LOADABLE = 1, MAX_SEGMENTS = 16 };
enum { AT_NULL = 0, AT_BASE = 7, AT_HWCAP = 16, AT_HWCAP2 = 26, AT_HWCAP3 = 29, AT_HWCAP4 = 30 };

/* The parts of elf(5) that are read. */
struct header {
    unsigned char identity[16];
    unsigned short type, machine;
    unsigned version;
    unsigned long entry, segments_at, sections_at;
    unsigned flags;
    unsigned short size, segment_size, segment_count, section_size, section_count, names;
};
struct segment {
    unsigned type, flags; /* flags: 1 execute, 2 write, 4 read */
    unsigned long offset, address, physical, file_size, memory_size, alignment;
};
struct auxiliary {
    unsigned long type, value;
};

static const unsigned long PAGE = 4096;

static long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

/* As the kernel does where the interpreter of a program cannot be loaded: no message can be given. */
static _Noreturn void fail(void)
{
    for (;;)
        syscall6(EXIT, 127, 0, 0, 0, 0, 0);
}

static unsigned long map(unsigned long at, unsigned long size, long protection, long flags, long file, long offset)
{
    long done = syscall6(MMAP, (long)at, (long)size, protection, flags, file, offset);
    if (done < 0 && done > -4096)
        fail();
    return (unsigned long)done;
}

static void read_at(long file, void *into, unsigned long size, unsigned long offset)
{
    if (syscall6(PREAD64, file, (long)into, (long)size, (long)offset, 0, 0) != (long)size)
        fail();
}

static void map_segment(long file, unsigned long base, const struct segment *segment)
{
    unsigned long skipped = segment->address % PAGE;
    unsigned long start = base + segment->address - skipped;
    unsigned long file_end = base + segment->address + segment->file_size;
    unsigned long end = base + segment->address + segment->memory_size;
    unsigned long mapped_end = (file_end + PAGE - 1) & -PAGE;
    long protection = (segment->flags & 4 ? READ : 0) | (segment->flags & 2 ? WRITE : 0) |
                      (segment->flags & 1 ? EXECUTE : 0);
    map(start, file_end - start, protection, PRIVATE | FIXED, file, (long)(segment->offset - skipped));
    if (end == file_end)
        return;
    for (volatile char *byte = (char *)file_end; byte < (char *)mapped_end; byte++)
        *byte = 0;
    if (end > mapped_end)
        map(mapped_end, end - mapped_end, protection, PRIVATE | FIXED | ANONYMOUS, -1, 0);
}

/* Maps the loader; returns the address it is mapped at, and adds that of its first instruction. */
static unsigned long map_loader(unsigned long *entry)
{
    struct header header;
    struct segment segments[MAX_SEGMENTS];
    unsigned long size = 0;
    long file = syscall6(OPENAT, AT_FDCWD, (long)LOADER, 0, 0, 0, 0);
    if (file < 0)
        fail();
    read_at(file, &header, sizeof header, 0);
    if (header.segment_count > MAX_SEGMENTS)
        fail();
    read_at(file, segments, header.segment_count * sizeof *segments, header.segments_at);
    for (int i = 0; i < header.segment_count; i++)
        if (segments[i].type == LOADABLE)
            size = segments[i].address + segments[i].memory_size;
    unsigned long base = map(0, size, 0, PRIVATE | ANONYMOUS, -1, 0);
    for (int i = 0; i < header.segment_count; i++)
        if (segments[i].type == LOADABLE)
            map_segment(file, base, &segments[i]);
    syscall6(CLOSE, file, 0, 0, 0, 0, 0);
    *entry = base + header.entry;
    return base;
}

/* Takes the stack as the kernel lays it out: argc, argv, environment, auxiliary vector. Returns where to go on. */
__attribute__((used)) static unsigned long prepare(unsigned long *stack)
{
    unsigned long entry;
    unsigned long base = map_loader(&entry);
    unsigned long *environment = stack + 1 + stack[0] + 1;
    while (*environment)
        environment++;
    for (struct auxiliary *item = (struct auxiliary *)(environment + 1); item->type != AT_NULL; item++)
        switch (item->type) {
        case AT_HWCAP:
            item->value &= HWCAP;
            break;
        case AT_HWCAP2:
            item->value &= HWCAP2;
            break;
        case AT_HWCAP3:
        case AT_HWCAP4:
            item->value = 0;
            break;
        case AT_BASE:
            item->value = base;
            break;
        }
    return entry;
}

__asm__(".text\n"
        ".global _start\n"
        ".type _start, %function\n"
        "_start:\n"
        "    mov x0, sp\n"
        "    bl prepare\n"
        "    mov x16, x0\n"
        "    mov x0, xzr\n"
        "    br x16\n");
