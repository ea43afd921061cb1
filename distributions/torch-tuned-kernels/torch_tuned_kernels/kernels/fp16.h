// Micro-kernels of float16 (IEEE 754 binary16): products that are summed in fp32.
//
// FMLAL and FMLAL2 (FEAT_FHM, Armv8.2 with FEAT_FP16) multiply the lower and the upper four elements and add to fp32
// without rounding between. Without them elements are widened by FCVTL, which every 64-bit Arm has. The product of two
// float16 is exact in fp32, so both give the same sums.

#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace tuned {

struct Fp16Numbers {
    static float16x8_t halves(uint16x8_t x) { return vreinterpretq_f16_u16(x); }

    static float widen(uint16_t x) {
        __fp16 value;
        std::memcpy(&value, &x, sizeof value);
        return value;
    }

    static float32x4_t widen_low(uint16x8_t x) { return vcvt_f32_f16(vget_low_f16(halves(x))); }
    static float32x4_t widen_high(uint16x8_t x) { return vcvt_high_f32_f16(halves(x)); }

    // To the nearest, ties to even, beyond 65504 to infinity (FCVTN).
    static uint16x4_t narrow(float32x4_t x) { return vreinterpret_u16_f16(vcvt_f16_f32(x)); }
};

#if defined(__ARM_FEATURE_FP16_FML)

struct Fp16Products : Fp16Numbers {
    static constexpr char name[] = "Advanced SIMD FMLAL";
    using Operand = float16x8_t;
    using Sum = float32x4_t;
    static Operand load(const uint16_t* p) { return halves(vld1q_u16(p)); }
    static Sum zero() { return vdupq_n_f32(0); }
    static Sum dot(Sum sum, Operand a, Operand b) { return vfmlalq_high_f16(vfmlalq_low_f16(sum, a, b), a, b); }
    static float total(Sum sum) { return vaddvq_f32(sum); }

    struct Columns {
        float32x4_t low, high;
    };
    static Columns no_columns() { return {vdupq_n_f32(0), vdupq_n_f32(0)}; }
    static Operand same(const uint16_t* p) { return halves(vld1q_dup_u16(p)); }
    static Columns multiply(Columns sum, Operand row, Operand x) {
        return {vfmlalq_low_f16(sum.low, row, x), vfmlalq_high_f16(sum.high, row, x)};
    }
    static void store(float* p, Columns sum) {
        vst1q_f32(p, sum.low);
        vst1q_f32(p + 4, sum.high);
    }
};

#else

struct Fp16Products : Fp16Numbers {
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
        const float32x4_t x = vdupq_n_f32(widen(*p));
        return {x, x};
    }
    static Columns multiply(Columns sum, Operand row, Operand x) { return dot(sum, row, x); }
    static void store(float* p, Columns sum) {
        vst1q_f32(p, sum.low);
        vst1q_f32(p + 4, sum.high);
    }
};

#endif

}  // namespace tuned
