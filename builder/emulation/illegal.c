/* Says where a program meets an illegal instruction, before it dies of it.
 *
 * Loaded first (LD_PRELOAD, ld.so(8)). It prints one line to stderr: ILLEGAL, the word, its address in the file as
 * ELF counts it, and the file's path. A handler that the program sets later takes its place. The structures are
 * those of glibc for 64-bit Arm (sigaction(2), dladdr(3)).
 */
#define SIGILL 4
#define SA_SIGINFO 4
#define SA_RESETHAND 0x80000000u

struct info {
    int number, error, code, padding;
    const unsigned *address;
};
struct action {
    void (*handler)(int, const struct info *, void *);
    unsigned long mask[16];
    int flags;
    void (*restorer)(void);
};
struct place {
    const char *file;
    const char *base;
    const char *symbol;
    const void *at;
};

extern int sigaction(int, const struct action *, struct action *);
extern int dladdr(const void *, struct place *);
extern long write(int, const void *, unsigned long);

static char *put(char *at, const char *end, const char *text)
{
    while (*text && at < end)
        *at++ = *text++;
    return at;
}

static char *put_hex(char *at, const char *end, unsigned long value)
{
    at = put(at, end, " 0x");
    for (int shift = 60; shift >= 0; shift -= 4)
        if (at < end)
            *at++ = "0123456789abcdef"[value >> shift & 15];
    return at;
}

static void report(int number, const struct info *info, void *context)
{
    char line[4352];
    char *at = line, *end = line + sizeof line - 1;
    struct place place = {0, 0, 0, 0};
    (void)number;
    (void)context;
    dladdr(info->address, &place);
    at = put(at, end, "\nILLEGAL");
    at = put_hex(at, end, *info->address);
    at = put_hex(at, end, (unsigned long)((const char *)info->address - place.base));
    at = put(at, end, " ");
    at = put(at, end, place.file ? place.file : "?");
    *at++ = '\n';
    write(2, line, (unsigned long)(at - line));
    /* SA_RESETHAND: the instruction is tried again, and ends the program as it would have without this file. */
}

__attribute__((constructor)) static void watch(void)
{
    struct action action = {report, {0}, (int)(SA_SIGINFO | SA_RESETHAND), 0};
    sigaction(SIGILL, &action, 0);
}
