/* What objects compiled against libstdc++ 11 and later ask for and older ones lack; see newer_glibc.c.
 *
 * GLIBCXX_3.4.29 brought the function by which containers refuse a size no array can have.
 */
#include <new>

namespace std {

[[noreturn]] __attribute__((visibility("hidden"))) void __throw_bad_array_new_length() {
    throw bad_array_new_length();
}

}  // namespace std
