// Functions of fp32: exp and what is built on it, written once for Advanced SIMD and for SVE of any length.
//
// `Neon` and `Sve` give the same few operations their names. exp follows the usual way: x = n ln 2 + r, exp(x) = 2^n
// exp(r), with ln 2 in two parts so that n ln 2 is exact (Muller, Elementary Functions, 3rd edition, section 11.1).
// SVE has 2^(i/64) in a table of the CPU (FEXPA, Arm Architecture Reference Manual), so that r is 64 times smaller and
// a polynomial of the third degree suffices; Advanced SIMD takes one of the fifth.

#pragma once

#include <arm_neon.h>
#if defined(__ARM_FEATURE_SVE)
#include <arm_sve.h>
#endif

#include <cstdint>
#include <cstring>

#include "kernels/bf16.h"
#include "kernels/fp16.h"
#include "kernels/kernels.h"

namespace tuned {

// Beyond this size exp(x) is near the ends of the range, where 2^n has no exponent of its own.
constexpr float kOrdinary = 87.0F;

struct Neon {
    using V = float32x4_t;
    using Mask = uint32x4_t;
    using Active = int;  // whole vectors alone; what is left goes through a buffer
    static int64_t width() { return 4; }
    static Active active(int64_t, int64_t) { return 0; }
    static Active every() { return 0; }
    static int64_t whole(int64_t n) { return n / 4 * 4; }

    static V load(Active, const float* p) { return vld1q_f32(p); }
    static void store(Active, float* p, V x) { vst1q_f32(p, x); }
    static V load(Active, const Bf16Numbers*, const uint16_t* p) {
        return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
    }
    static V load(Active, const Fp16Numbers*, const uint16_t* p) {
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
    }
    template <class Numbers>
    static void store(Active, const Numbers*, uint16_t* p, V x) {
        vst1_u16(p, Numbers::narrow(x));
    }

    static V all(float x) { return vdupq_n_f32(x); }
    static V add(V a, V b) { return vaddq_f32(a, b); }
    static V sub(V a, V b) { return vsubq_f32(a, b); }
    static V mul(V a, V b) { return vmulq_f32(a, b); }
    static V div(V a, V b) { return vdivq_f32(a, b); }
    static V fma(V a, V b, V sum) { return vfmaq_f32(sum, a, b); }
    static V neg(V a) { return vnegq_f32(a); }
    static V abs(V a) { return vabsq_f32(a); }
    static V max(V a, V b) { return vmaxq_f32(a, b); }  // NaN if either is
    static V min(V a, V b) { return vminq_f32(a, b); }
    static V max_number(V a, V b) { return vmaxnmq_f32(a, b); }  // the other if one is NaN
    static Mask greater(V a, V b) { return vcgtq_f32(a, b); }
    static bool any(Mask m) { return vmaxvq_u32(m) != 0; }
    static V choose(Mask m, V yes, V no) { return vbslq_f32(m, yes, no); }
    // The size of one, the sign of the other.
    static V with_sign(V size, V sign) { return vbslq_f32(vdupq_n_u32(0x80000000), sign, size); }

    struct Parts {
        V fraction;  // exp(r) - 1, of r within half a ln 2
        int32x4_t n;
    };
    static Parts exp_parts(V x) {
        const V n = vrndnq_f32(mul(x, all(0x1.715476p+0F)));
        const V r = vfmsq_f32(vfmsq_f32(x, n, all(0x1.62e400p-1F)), n, all(0x1.7f7d1cp-20F));
        // A minimax polynomial; the coefficients are those of Arm's Optimized Routines, v_expf (MIT licence).
        const V rr = mul(r, r);
        const V high = fma(fma(all(0x1.0e4020p-7F), r, all(0x1.573e2ep-5F)), rr,
                           fma(all(0x1.555e66p-3F), r, all(0x1.fffdb6p-2F)));
        return {fma(high, rr, mul(all(0x1.ffffecp-1F), r)), vcvtq_s32_f32(n)};
    }
    static V power_of_two(int32x4_t n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
    static V exp_ordinary(V x) {
        const Parts p = exp_parts(x);
        const V scale = power_of_two(p.n);
        return fma(p.fraction, scale, scale);
    }
    // Of any value: 2^n in two factors, so that the result overflows or becomes subnormal by the last product.
    static V exp_any(V x) {
        const Parts p = exp_parts(min(max(x, all(-110.0F)), all(90.0F)));
        const int32x4_t half = vshrq_n_s32(p.n, 1);
        const V scale = power_of_two(half);
        return mul(fma(p.fraction, scale, scale), power_of_two(vsubq_s32(p.n, half)));
    }
    // Where lanes are on, and what was there before elsewhere.
    static V add_where(Active, V a, V b) { return vaddq_f32(a, b); }
    static V max_where(Active, V a, V b) { return vmaxq_f32(a, b); }
    static float total(V x) { return vaddvq_f32(x); }
    static float largest(V x) { return vmaxvq_f32(x); }
};

#if defined(__ARM_FEATURE_SVE)

struct Sve {
    using V = svfloat32_t;
    using Mask = svbool_t;
    using Active = svbool_t;
    static int64_t width() { return static_cast<int64_t>(svcntw()); }
    static Active active(int64_t i, int64_t n) { return svwhilelt_b32_s64(i, n); }
    static int64_t whole(int64_t n) { return n; }  // lanes that do not exist are switched off
    static svbool_t whole() { return svptrue_b32(); }
    static Active every() { return svptrue_b32(); }

    static V load(Active on, const float* p) { return svld1_f32(on, p); }
    static void store(Active on, float* p, V x) { svst1_f32(on, p, x); }
    // A 16-bit value in the lower half of each 32 bits.
    static V load(Active on, const Bf16Numbers*, const uint16_t* p) {
        return svreinterpret_f32_u32(svlsl_n_u32_x(whole(), svld1uh_u32(on, p), 16));
    }
    static V load(Active on, const Fp16Numbers*, const uint16_t* p) {
        return svcvt_f32_f16_x(whole(), svreinterpret_f16_u32(svld1uh_u32(on, p)));
    }
    static void store(Active on, const Fp16Numbers*, uint16_t* p, V x) {
        svst1h_u32(on, p, svreinterpret_u32_f16(svcvt_f16_f32_x(whole(), x)));
    }
    static void store(Active on, const Bf16Numbers*, uint16_t* p, V x) {
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
        svst1h_u32(on, p, svreinterpret_u32_bf16(svcvt_bf16_f32_x(whole(), x)));
#else
        const svuint32_t bits = svreinterpret_u32_f32(x);
        const svuint32_t odd = svand_n_u32_x(whole(), svlsr_n_u32_x(whole(), bits, 16), 1);
        const svuint32_t rounded = svadd_u32_x(whole(), bits, svadd_n_u32_x(whole(), odd, 0x7fff));
        const svuint32_t quiet = svorr_n_u32_x(whole(), bits, 0x400000);
        svst1h_u32(on, p, svlsr_n_u32_x(whole(), svsel_u32(svcmpeq_f32(whole(), x, x), rounded, quiet), 16));
#endif
    }

    static V all(float x) { return svdup_n_f32(x); }
    static V add(V a, V b) { return svadd_f32_x(whole(), a, b); }
    static V sub(V a, V b) { return svsub_f32_x(whole(), a, b); }
    static V mul(V a, V b) { return svmul_f32_x(whole(), a, b); }
    static V div(V a, V b) { return svdiv_f32_x(whole(), a, b); }
    static V fma(V a, V b, V sum) { return svmla_f32_x(whole(), sum, a, b); }
    static V neg(V a) { return svneg_f32_x(whole(), a); }
    static V abs(V a) { return svabs_f32_x(whole(), a); }
    static V max(V a, V b) { return svmax_f32_x(whole(), a, b); }
    static V min(V a, V b) { return svmin_f32_x(whole(), a, b); }
    static V max_number(V a, V b) { return svmaxnm_f32_x(whole(), a, b); }
    static Mask greater(V a, V b) { return svcmpgt_f32(whole(), a, b); }
    static bool any(Mask m) { return svptest_any(whole(), m); }
    static V choose(Mask m, V yes, V no) { return svsel_f32(m, yes, no); }
    static V with_sign(V size, V sign) {
        const svuint32_t bit = svand_n_u32_x(whole(), svreinterpret_u32_f32(sign), 0x80000000);
        const svuint32_t rest = svand_n_u32_x(whole(), svreinterpret_u32_f32(size), 0x7fffffff);
        return svreinterpret_f32_u32(svorr_u32_x(whole(), bit, rest));
    }

    static V exp_ordinary(V x) {
        // Adding 1.5 * 2^17 leaves n = 64 x / ln 2 in the lowest bits, biased as FEXPA takes it.
        const V shift = all(0x1.803f8p17F);
        const V z = fma(x, all(0x1.715476p+0F), shift), n = sub(z, shift);
        V r = svmls_n_f32_x(whole(), x, n, 0x1.62e400p-1F);
        r = svmls_n_f32_x(whole(), r, n, 0x1.7f7d1cp-20F);
        const V scale = svexpa_f32(svreinterpret_u32_f32(z));
        const V fraction = fma(mul(r, r), fma(r, all(0x1.5555p-3F), all(0.5F)), r);
        return fma(fraction, scale, scale);
    }
    static V exp_any(V x) {
        const V in = min(max(x, all(-110.0F)), all(90.0F)), half = mul(in, all(0.5F));
        const V shift = all(0x1.803f8p17F);
        const V z = fma(half, all(0x1.715476p+0F), shift), n = sub(z, shift);
        // exp(x) = 2^n 2^n exp(x - 2 n ln 2)
        const V n2 = add(n, n);
        V r = svmls_n_f32_x(whole(), in, n2, 0x1.62e400p-1F);
        r = svmls_n_f32_x(whole(), r, n2, 0x1.7f7d1cp-20F);
        const V scale = svexpa_f32(svreinterpret_u32_f32(z));
        const V fraction = fma(mul(r, r), fma(r, fma(r, all(1.0F / 24), all(1.0F / 6)), all(0.5F)), r);
        return mul(fma(fraction, scale, scale), scale);
    }
    static V add_where(Active on, V a, V b) { return svadd_f32_m(on, a, b); }
    static V max_where(Active on, V a, V b) { return svmax_f32_m(on, a, b); }
    static float total(V x) { return svaddv_f32(whole(), x); }
    static float largest(V x) { return svmaxv_f32(whole(), x); }
};

using Best = Sve;
#else
using Best = Neon;
#endif

// Within 3 ulp, subnormal results too; within 2 up to 87 in size. `ordinary` says that no value is larger, and changes
// no result: what a value gives does not depend on its neighbours.
template <class S, bool ordinary>
typename S::V exp_of(typename S::V x) {
    if (ordinary) return S::exp_ordinary(x);
    return S::choose(S::greater(S::abs(x), S::all(kOrdinary)), S::exp_any(x), S::exp_ordinary(x));
}

// For sums: exp(x) - exp(-87), with x below -87 taken as that. So -infinity gives 0, and whatever counts beside a 1 is
// unchanged. `least` is exp(-87) as exp_ordinary has it.
template <class S>
typename S::V exp_to_zero(typename S::V x, typename S::V least) {
    return S::sub(S::exp_ordinary(S::max(x, S::all(-kOrdinary))), least);
}

// Functions of one value. Those whose `asks` is true take exp of the value itself and are told whether it is ordinary.
struct Exp {
    static constexpr bool asks = true;
    template <class S, bool ordinary>
    static typename S::V of(typename S::V x) {
        return exp_of<S, ordinary>(x);
    }
};

// 1 / (1 + exp(-x)), which is 0 where exp(-x) overflows.
struct Sigmoid {
    static constexpr bool asks = true;
    template <class S, bool ordinary>
    static typename S::V of(typename S::V x) {
        const typename S::V e = exp_of<S, ordinary>(S::neg(x));
        return S::div(S::all(1), S::add(S::all(1), e));
    }
};

struct Silu {
    static constexpr bool asks = true;
    template <class S, bool ordinary>
    static typename S::V of(typename S::V x) {
        const typename S::V e = exp_of<S, ordinary>(S::neg(x));
        return S::div(x, S::add(S::all(1), e));
    }
};

// Near zero an odd polynomial (Cephes, tanhf.c: public coefficients), else 1 - 2 / (exp(2 |x|) + 1).
struct Tanh {
    static constexpr bool asks = false;
    template <class S, bool /*ordinary*/>
    static typename S::V of(typename S::V x) {
        using V = typename S::V;
        const V size = S::abs(x), z = S::mul(x, x);
        V p = S::fma(S::all(-5.70498872745e-3F), z, S::all(2.06390887954e-2F));
        p = S::fma(p, z, S::all(-5.37397155531e-2F));
        p = S::fma(p, z, S::all(1.33314422036e-1F));
        p = S::fma(p, z, S::all(-3.33332819422e-1F));
        const V near = S::fma(S::mul(p, z), x, x);
        const V e = S::exp_ordinary(S::min(S::add(size, size), S::all(kOrdinary)));
        const V far = S::sub(S::all(1), S::div(S::all(2), S::add(e, S::all(1))));
        return S::with_sign(S::choose(S::greater(size, S::all(0.625F)), far, near), x);  // -0 stays -0
    }
};

// Two polynomials, of x and of log(1 - erf): N. Juffa, "A fast and accurate implementation of erff", 2018 (public
// coefficients). Within 1 ulp.
struct Erf {
    static constexpr bool asks = false;
    template <class S, bool /*ordinary*/>
    static typename S::V of(typename S::V x) {
        using V = typename S::V;
        const V t = S::abs(x), s = S::mul(x, x);
        V low = S::fma(S::all(-0x1.38e000p-11F), s, S::all(0x1.471a58p-8F));
        low = S::fma(low, s, S::all(-0x1.b691b2p-6F));
        low = S::fma(low, s, S::all(0x1.ce1c44p-4F));
        low = S::fma(low, s, S::all(-0x1.812700p-2F));
        low = S::fma(low, s, S::all(0x1.06eba8p-3F));
        low = S::fma(low, x, x);
        const V big = S::min(t, S::all(4.0F));  // erf is 1 in fp32 from 3.92 on
        const V square = S::mul(big, big);
        V high = S::fma(S::all(-0x1.220000p-16F), big, S::all(0x1.91cfb2p-12F));
        high = S::fma(high, square, S::fma(S::all(-0x1.fd1438p-9F), big, S::all(0x1.8d6342p-6F)));
        high = S::fma(high, big, S::all(-0x1.b55cb8p-4F));
        high = S::fma(high, big, S::all(-0x1.450aa0p-1F));
        high = S::fma(high, big, S::all(-0x1.079d0cp-3F));
        high = S::fma(high, big, S::neg(big));
        high = S::sub(S::all(1), S::exp_ordinary(high));
        return S::choose(S::greater(t, S::all(0.927734375F)), S::with_sign(high, x), low);
    }
};

struct Gelu {
    static constexpr bool asks = false;
    template <class S, bool /*ordinary*/>
    static typename S::V of(typename S::V x) {
        const typename S::V e = Erf::of<S, false>(S::mul(x, S::all(0.70710678118654752F)));
        return S::mul(S::mul(x, S::all(0.5F)), S::add(S::all(1), e));
    }
};

struct GeluTanh {
    static constexpr bool asks = false;
    template <class S, bool /*ordinary*/>
    static typename S::V of(typename S::V x) {
        const typename S::V cube = S::mul(S::mul(x, x), x);
        const typename S::V inner = S::mul(S::all(0.79788456080286536F), S::fma(cube, S::all(0.044715F), x));
        return S::mul(S::mul(x, S::all(0.5F)), S::add(S::all(1), Tanh::of<S, false>(inner)));
    }
};

}  // namespace tuned
