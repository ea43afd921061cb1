/* Opens a server's own /proc/cpuinfo, for emulators that make one up.
 *
 * qemu-user 8.1 and later answer every open of /proc/cpuinfo with the features of the CPU model, whatever lies in the
 * root folder. Loaded first (LD_PRELOAD, ld.so(8)), these functions open CPUINFO, a file of the root, instead.
 */
#include <stddef.h>

#define NEXT ((void *)-1L) /* RTLD_NEXT of <dlfcn.h>, which needs no library here: libc.so.6 has dlsym */
extern void *dlsym(void *, const char *);
extern int unsetenv(const char *);

/* Programs of this machine that an emulated one starts cannot load this library. */
__attribute__((constructor)) static void forget(void)
{
    unsetenv("LD_PRELOAD");
}

static const char *replaced(const char *path)
{
    static const char name[] = "/proc/cpuinfo";
    size_t i = 0;
    while (path && i < sizeof name && path[i] == name[i])
        i++;
    return i == sizeof name ? CPUINFO : path;
}

/* The mode is an optional argument; on 64-bit Arm that is passed as any other (AAPCS64, "Variadic subroutines"). */
#define OPEN(name)                                                                                                    \
    int name(const char *path, int flags, unsigned mode)                                                              \
    {                                                                                                                 \
        return ((int (*)(const char *, int, unsigned))dlsym(NEXT, #name))(replaced(path), flags, mode);               \
    }
#define OPENAT(name)                                                                                                  \
    int name(int folder, const char *path, int flags, unsigned mode)                                                  \
    {                                                                                                                 \
        return ((int (*)(int, const char *, int, unsigned))dlsym(NEXT, #name))(folder, replaced(path), flags, mode);  \
    }
#define FOPEN(name)                                                                                                   \
    void *name(const char *path, const char *mode)                                                                    \
    {                                                                                                                 \
        return ((void *(*)(const char *, const char *))dlsym(NEXT, #name))(replaced(path), mode);                     \
    }

OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)
OPENAT(openat)
OPENAT(openat64)
OPENAT(__openat_2)
OPENAT(__openat64_2)
FOPEN(fopen)
FOPEN(fopen64)
