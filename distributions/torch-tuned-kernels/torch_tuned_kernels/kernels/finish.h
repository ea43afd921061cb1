// What becomes of sums in fp32: scaled, added to, and rounded once to the 16-bit type.

#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/kernels.h"

namespace tuned {

// Sums of `rows` rows and columns [from, to), the first at sums[0]; row `top` of the result is the first. Row i of the
// sums begins at sums + i * lds.
template <class Numbers>
void finish(const float* sums, int64_t lds, int64_t top, int64_t rows, int64_t from, int64_t to, const Finish& how) {
    const bool contiguous = how.out_column == 1 && (how.beta == 0 || how.added_column == 1);
    const float32x4_t alpha = vdupq_n_f32(how.alpha), beta = vdupq_n_f32(how.beta);
    for (int64_t i = 0; i < rows; ++i, sums += lds) {
        uint16_t* out = how.out + (top + i) * how.out_row + from * how.out_column;
        const uint16_t* added = how.beta == 0 ? nullptr : how.added + (top + i) * how.added_row + from * how.added_column;
        int64_t j = 0;
        for (; contiguous && j + 8 <= to - from; j += 8) {
            float32x4_t low = vmulq_f32(alpha, vld1q_f32(sums + j));
            float32x4_t high = vmulq_f32(alpha, vld1q_f32(sums + j + 4));
            if (added) {
                const uint16x8_t x = vld1q_u16(added + j);
                low = vfmaq_f32(low, beta, Numbers::widen_low(x));
                high = vfmaq_f32(high, beta, Numbers::widen_high(x));
            }
            vst1q_u16(out + j, vcombine_u16(Numbers::narrow(low), Numbers::narrow(high)));
        }
        for (; j < to - from; ++j) {
            float value = how.alpha * sums[j];
            if (added) value = __builtin_fmaf(how.beta, Numbers::widen(added[j * how.added_column]), value);
            out[j * how.out_column] = vget_lane_u16(Numbers::narrow(vdupq_n_f32(value)), 0);
        }
    }
}

}  // namespace tuned
