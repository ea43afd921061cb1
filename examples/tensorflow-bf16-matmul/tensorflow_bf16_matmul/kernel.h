// The inner loop of a bfloat16 matrix product: a tile of dot products of rows of A with rows of B, in float32.
//
// Which of the paths is compiled is the target's own: -mcpu sets the macros (Arm C Language Extensions, "Feature
// test macros"). Sums of whole numbers are exact on every path; otherwise the paths round in different places.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__ARM_FEATURE_SVE)
#include <arm_sve.h>
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#include <arm_neon.h>
#endif

namespace kernel {

// A bfloat16 is the upper half of a float32.
inline float widened(uint16_t value) {
    const uint32_t bits = static_cast<uint32_t>(value) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

// A CPU with SVE and BF16 has BF16 in both; GCC 12 has no macro of its own for the one in SVE.
#if defined(__ARM_FEATURE_SVE) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)

constexpr char name[] = "SVE bfloat16 matrix multiply";
constexpr int rows = 4, columns = 4;

// Two rows with their 64-bit parts taken in turn, as BFMMLA wants them: 2 x 4 values in each 128-bit segment.
inline svbfloat16x2_t pair(svbool_t active, const uint16_t* one, const uint16_t* other) {
    const svuint64_t a = svreinterpret_u64_u16(svld1_u16(active, one));
    const svuint64_t b = svreinterpret_u64_u16(svld1_u16(active, other));
    return svcreate2_bf16(svreinterpret_bf16_u64(svtrn1_u64(a, b)), svreinterpret_bf16_u64(svtrn2_u64(a, b)));
}

// Adds the products of two pairs of rows: a 2 x 2 block in each segment.
inline svfloat32_t multiply(svfloat32_t sum, svbfloat16x2_t a, svbfloat16x2_t b) {
    sum = svbfmmla_f32(sum, svget2_bf16(a, 0), svget2_bf16(b, 0));
    return svbfmmla_f32(sum, svget2_bf16(a, 1), svget2_bf16(b, 1));
}

// The segments of 128 bits added up; a vector has no more than 2,048 bits.
inline void fold(svfloat32_t lanes, float (&sums)[4]) {
    float all[64];
    svst1_f32(svptrue_b32(), all, lanes);
    for (float& sum : sums) sum = 0;
    for (uint64_t lane = 0; lane < svcntw(); ++lane) sums[lane % 4] += all[lane];
}

inline void tile(const uint16_t* const (&a)[rows], const uint16_t* const (&b)[columns], int64_t depth,
                 float (&sums)[rows][columns]) {
    svfloat32_t c00 = svdup_f32(0), c01 = c00, c10 = c00, c11 = c00;
    for (int64_t k = 0; k < depth; k += svcnth()) {
        const svbool_t active = svwhilelt_b16_s64(k, depth);  // lanes past the end are loaded as zero
        const svbfloat16x2_t a0 = pair(active, a[0] + k, a[1] + k), a1 = pair(active, a[2] + k, a[3] + k);
        const svbfloat16x2_t b0 = pair(active, b[0] + k, b[1] + k), b1 = pair(active, b[2] + k, b[3] + k);
        c00 = multiply(c00, a0, b0);
        c01 = multiply(c01, a0, b1);
        c10 = multiply(c10, a1, b0);
        c11 = multiply(c11, a1, b1);
    }
    float blocks[2][2][4];
    fold(c00, blocks[0][0]);
    fold(c01, blocks[0][1]);
    fold(c10, blocks[1][0]);
    fold(c11, blocks[1][1]);
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) sums[i][j] = blocks[i / 2][j / 2][i % 2 * 2 + j % 2];
}

#elif defined(__ARM_FEATURE_SVE)

constexpr char name[] = "SVE float32 multiply-add";
constexpr int rows = 2, columns = 2;

inline svfloat32_t load(svbool_t active, const uint16_t* row) {
    return svreinterpret_f32_u32(svlsl_n_u32_x(active, svld1uh_u32(active, row), 16));
}

inline void tile(const uint16_t* const (&a)[rows], const uint16_t* const (&b)[columns], int64_t depth,
                 float (&sums)[rows][columns]) {
    svfloat32_t c00 = svdup_f32(0), c01 = c00, c10 = c00, c11 = c00;
    for (int64_t k = 0; k < depth; k += svcntw()) {
        const svbool_t active = svwhilelt_b32_s64(k, depth);
        const svfloat32_t a0 = load(active, a[0] + k), a1 = load(active, a[1] + k);
        const svfloat32_t b0 = load(active, b[0] + k), b1 = load(active, b[1] + k);
        c00 = svmla_f32_m(active, c00, a0, b0);
        c01 = svmla_f32_m(active, c01, a0, b1);
        c10 = svmla_f32_m(active, c10, a1, b0);
        c11 = svmla_f32_m(active, c11, a1, b1);
    }
    const svbool_t whole = svptrue_b32();
    sums[0][0] = svaddv_f32(whole, c00);
    sums[0][1] = svaddv_f32(whole, c01);
    sums[1][0] = svaddv_f32(whole, c10);
    sums[1][1] = svaddv_f32(whole, c11);
}

#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)

constexpr char name[] = "Advanced SIMD bfloat16 matrix multiply";
constexpr int rows = 4, columns = 4;

inline bfloat16x8_t pair(const uint16_t* one, const uint16_t* other) {
    return vreinterpretq_bf16_u16(vcombine_u16(vld1_u16(one), vld1_u16(other)));
}

inline void tile(const uint16_t* const (&a)[rows], const uint16_t* const (&b)[columns], int64_t depth,
                 float (&sums)[rows][columns]) {
    float32x4_t blocks[2][2] = {};
    int64_t k = 0;
    for (; k + 4 <= depth; k += 4) {
        bfloat16x8_t left[2], right[2];
        for (int i = 0; i < 2; ++i) {
            left[i] = pair(a[2 * i] + k, a[2 * i + 1] + k);
            right[i] = pair(b[2 * i] + k, b[2 * i + 1] + k);
        }
        for (int i = 0; i < 2; ++i)
            for (int j = 0; j < 2; ++j) blocks[i][j] = vbfmmlaq_f32(blocks[i][j], left[i], right[j]);
    }
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) {
            sums[i][j] = blocks[i / 2][j / 2][i % 2 * 2 + j % 2];
            for (int64_t rest = k; rest < depth; ++rest) sums[i][j] += widened(a[i][rest]) * widened(b[j][rest]);
        }
}

#else

constexpr char name[] = "plain C++";
constexpr int rows = 1, columns = 1;

inline void tile(const uint16_t* const (&a)[rows], const uint16_t* const (&b)[columns], int64_t depth,
                 float (&sums)[rows][columns]) {
    // Sums side by side, so that the compiler may use vectors without changing the order of additions.
    constexpr int lanes = 16;
    float side[lanes] = {};
    int64_t k = 0;
    for (; k + lanes <= depth; k += lanes)
        for (int lane = 0; lane < lanes; ++lane) side[lane] += widened(a[0][k + lane]) * widened(b[0][k + lane]);
    float sum = 0;
    for (float part : side) sum += part;
    for (; k < depth; ++k) sum += widened(a[0][k]) * widened(b[0][k]);
    sums[0][0] = sum;
}

#endif

}  // namespace kernel
