/* Calls a vector function of SLEEF over an array: Python cannot pass vectors. Counts are of elements. */
#include <arm_neon.h>
#include <arm_sve.h>
#include <stddef.h>

typedef float32x4_t (*neon_f32)(float32x4_t);
typedef float64x2_t (*neon_f64)(float64x2_t);
typedef svfloat32_t (*sve_f32)(svfloat32_t);
typedef svfloat64_t (*sve_f64)(svfloat64_t);

void call_neon_f32(neon_f32 function, const float *in, float *out, size_t count)
{
    for (size_t i = 0; i < count; i += 4)
        vst1q_f32(out + i, function(vld1q_f32(in + i)));
}

void call_neon_f64(neon_f64 function, const double *in, double *out, size_t count)
{
    for (size_t i = 0; i < count; i += 2)
        vst1q_f64(out + i, function(vld1q_f64(in + i)));
}

__attribute__((target("sve"))) void call_sve_f32(sve_f32 function, const float *in, float *out, size_t count)
{
    svbool_t all = svptrue_b32();
    for (size_t i = 0; i < count; i += svcntw())
        svst1_f32(all, out + i, function(svld1_f32(all, in + i)));
}

__attribute__((target("sve"))) void call_sve_f64(sve_f64 function, const double *in, double *out, size_t count)
{
    svbool_t all = svptrue_b64();
    for (size_t i = 0; i < count; i += svcntd())
        svst1_f64(all, out + i, function(svld1_f64(all, in + i)));
}
