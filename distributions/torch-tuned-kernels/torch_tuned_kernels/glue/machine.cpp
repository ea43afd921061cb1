// Asks the machine, as Linux reports it (Documentation/arch/arm64/elf_hwcaps.rst, sve.rst).

#include <sys/auxv.h>

#include "glue/glue.h"
#include "kernels/kernels.h"

namespace glue {
namespace {

struct Named {
    int bit;
    const char* name;
};

constexpr Named kFirst[] = {{0, "fp"},      {1, "asimd"},     {8, "atomics"}, {9, "fphp"},    {10, "asimdhp"},
                            {12, "asimdrdm"}, {20, "asimddp"}, {22, "sve"},    {23, "asimdfhm"}};
constexpr Named kSecond[] = {{1, "sve2"}, {9, "svei8mm"}, {12, "svebf16"}, {13, "i8mm"}, {14, "bf16"}};
constexpr unsigned long kHwcap2 = 26;  // AT_HWCAP2, which old headers lack

template <size_t N>
void lacking(uint64_t missing, const Named (&names)[N], std::string& list) {
    for (const Named& one : names)
        if (missing >> one.bit & 1) list += (list.empty() ? "" : ", ") + std::string(one.name);
}

}  // namespace

bool supported(std::string& why) {
    std::string list;
    lacking(tuned::needed_hwcap & ~getauxval(AT_HWCAP), kFirst, list);
    lacking(tuned::needed_hwcap2 & ~getauxval(kHwcap2), kSecond, list);
    if (!list.empty()) why = "this CPU lacks " + list + ", for which these kernels were compiled";
    return list.empty();
}

bool machine_has_bf16() { return getauxval(kHwcap2) >> 14 & 1; }

}  // namespace glue
