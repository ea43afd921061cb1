// Micro-kernels of bfloat16: products that are summed in fp32.
//
// A bfloat16 is the upper half of an fp32, so it widens by a shift. Where the CPU has BFDOT (FEAT_BF16, Armv8.6), two
// neighbouring products are added to a lane at once; BFMLALB and BFMLALT multiply even and odd elements. BFDOT rounds
// a sum of two products to odd and flushes subnormal values (Arm Architecture Reference Manual, "BFDotAdd"), which
// costs less than 2^-22 of the largest product and is far below the 2^-8 of the type.

#pragma once

#include <arm_neon.h>
#if defined(__ARM_FEATURE_SVE)
#include <arm_sve.h>
#endif

#include <cstdint>
#include <cstring>

namespace tuned {

struct Bf16Numbers {
    static float widen(uint16_t x) {
        const uint32_t bits = static_cast<uint32_t>(x) << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }

    static float32x4_t widen_low(uint16x8_t x) { return vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(x), 16)); }
    static float32x4_t widen_high(uint16x8_t x) { return vreinterpretq_f32_u32(vshll_high_n_u16(x, 16)); }

    // To the nearest, ties to even; NaN stays NaN.
    static uint16x4_t narrow(float32x4_t x) {
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
        return vreinterpret_u16_bf16(vcvt_bf16_f32(x));
#else
        const uint32x4_t bits = vreinterpretq_u32_f32(x);
        const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
        const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(vdupq_n_u32(0x7fff), odd));
        const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
        return vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16);
#endif
    }
};

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)

// Eight elements at a time: dot products by BFDOT, products with one value by BFMLALB and BFMLALT.
struct Bf16Products : Bf16Numbers {
    static constexpr char name[] = "Advanced SIMD BFDOT";
    using Operand = bfloat16x8_t;
    using Sum = float32x4_t;
    static Operand load(const uint16_t* p) { return vreinterpretq_bf16_u16(vld1q_u16(p)); }
    static Sum zero() { return vdupq_n_f32(0); }
    static Sum dot(Sum sum, Operand a, Operand b) { return vbfdotq_f32(sum, a, b); }
    static float total(Sum sum) { return vaddvq_f32(sum); }

    // Sums of eight columns: here the even ones and the odd ones.
    struct Columns {
        float32x4_t even, odd;
    };
    static Columns no_columns() { return {vdupq_n_f32(0), vdupq_n_f32(0)}; }
    static Operand same(const uint16_t* p) { return vreinterpretq_bf16_u16(vld1q_dup_u16(p)); }
    static Columns multiply(Columns sum, Operand row, Operand x) {
        return {vbfmlalbq_f32(sum.even, row, x), vbfmlaltq_f32(sum.odd, row, x)};
    }
    static void store(float* p, Columns sum) {
        vst1q_f32(p, vzip1q_f32(sum.even, sum.odd));
        vst1q_f32(p + 4, vzip2q_f32(sum.even, sum.odd));
    }
};

#else

// Widened to fp32, then multiplied: any 64-bit Arm.
struct Bf16Products : Bf16Numbers {
    static constexpr char name[] = "Advanced SIMD, widened to fp32";
    struct Pair {
        float32x4_t low, high;
    };
    using Operand = Pair;
    using Sum = Pair;
    static Operand load(const uint16_t* p) {
        const uint16x8_t x = vld1q_u16(p);
        return {widen_low(x), widen_high(x)};
    }
    static Sum zero() { return {vdupq_n_f32(0), vdupq_n_f32(0)}; }
    static Sum dot(Sum sum, Operand a, Operand b) {
        return {vfmaq_f32(sum.low, a.low, b.low), vfmaq_f32(sum.high, a.high, b.high)};
    }
    static float total(Sum sum) { return vaddvq_f32(vaddq_f32(sum.low, sum.high)); }

    using Columns = Pair;
    static Columns no_columns() { return zero(); }
    static Operand same(const uint16_t* p) {
        const float32x4_t x = vreinterpretq_f32_u32(vshll_n_u16(vld1_dup_u16(p), 16));
        return {x, x};
    }
    static Columns multiply(Columns sum, Operand row, Operand x) { return dot(sum, row, x); }
    static void store(float* p, Columns sum) {
        vst1q_f32(p, sum.low);
        vst1q_f32(p + 4, sum.high);
    }
};

#endif

#if defined(__ARM_FEATURE_SVE) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)

// Dot products with vectors of any length. Lanes past the end are loaded as zero.
struct Bf16Vectors {
    static constexpr char name[] = "SVE BFDOT";
    using Active = svbool_t;
    static int64_t width() { return static_cast<int64_t>(svcnth()); }
    static Active active(int64_t k, int64_t depth) { return svwhilelt_b16_s64(k, depth); }
    static svbfloat16_t load(Active active, const uint16_t* p) { return svreinterpret_bf16_u16(svld1_u16(active, p)); }
    static svfloat32_t zero() { return svdup_n_f32(0); }
    static svfloat32_t dot(svfloat32_t sum, svbfloat16_t a, svbfloat16_t b) { return svbfdot_f32(sum, a, b); }
    static float total(svfloat32_t sum) { return svaddv_f32(svptrue_b32(), sum); }
};

#endif

}  // namespace tuned
