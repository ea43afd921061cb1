// What the machine must have for the code of this folder, from the macros that -mcpu sets (Arm C Language Extensions,
// "Feature test macros") and the bits of Linux (arch/arm64/include/uapi/asm/hwcap.h).

#include "kernels/kernels.h"

namespace tuned {
namespace {

constexpr uint64_t bit(int n) { return uint64_t{1} << n; }

}  // namespace

const uint64_t needed_hwcap = bit(0)  // FP
                              | bit(1)  // ASIMD
#if defined(__ARM_FEATURE_ATOMICS)
                              | bit(8)
#endif
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
                              | bit(9) | bit(10)  // FPHP, ASIMDHP
#endif
#if defined(__ARM_FEATURE_QRDMX)
                              | bit(12)
#endif
#if defined(__ARM_FEATURE_DOTPROD)
                              | bit(20)
#endif
#if defined(__ARM_FEATURE_SVE)
                              | bit(22)
#endif
#if defined(__ARM_FEATURE_FP16_FML)
                              | bit(23)
#endif
    ;

const uint64_t needed_hwcap2 = 0
#if defined(__ARM_FEATURE_SVE2)
                               | bit(1)
#endif
#if defined(__ARM_FEATURE_SVE_MATMUL_INT8)
                               | bit(9)
#endif
#if defined(__ARM_FEATURE_SVE) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
                               | bit(12)
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
                               | bit(13)
#endif
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
                               | bit(14)
#endif
    ;

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
const bool native_bf16 = true;
#else
const bool native_bf16 = false;
#endif

#if defined(__ARM_FEATURE_FP16_FML)
const bool native_fp16 = true;
#else
const bool native_fp16 = false;
#endif

}  // namespace tuned
