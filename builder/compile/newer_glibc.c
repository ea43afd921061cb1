/* What objects compiled against glibc 2.38 ask for and older C libraries lack.
 *
 * Since 2.38 the headers rename these functions where C23's binary literals may be meant; for text without a
 * "0b" prefix the older ones read the same (glibc's NEWS for 2.38). Hidden: each library has its own.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define HIDDEN __attribute__((visibility("hidden")))

HIDDEN long __isoc23_strtol(const char *text, char **end, int base)
{
    return strtol(text, end, base);
}

HIDDEN unsigned long __isoc23_strtoul(const char *text, char **end, int base)
{
    return strtoul(text, end, base);
}

HIDDEN int __isoc23_sscanf(const char *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int read = vsscanf(text, format, arguments);
    va_end(arguments);
    return read;
}
