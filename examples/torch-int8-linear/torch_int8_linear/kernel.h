// The inner loop of an int8 matrix product: a tile of dot products of rows of A with rows of B.
//
// Which of the paths is compiled is the target's own: -mcpu sets the macros (Arm C Language Extensions, "Feature
// test macros"). Each path adds up exactly in 32 bits, so all give the same numbers.

#pragma once

#include <cstdint>

#if defined(__ARM_FEATURE_SVE)
#include <arm_sve.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace kernel {

#if defined(__ARM_FEATURE_SVE) && defined(__ARM_FEATURE_SVE_MATMUL_INT8)

constexpr char name[] = "SVE int8 matrix multiply";
constexpr int rows = 4, columns = 4;

// The segments of 128 bits added up; a vector has no more than 2,048 bits.
inline void fold(svint32_t lanes, int32_t (&sums)[4]) {
    int32_t all[64];
    svst1_s32(svptrue_b32(), all, lanes);
    for (int& sum : sums) sum = 0;
    for (uint64_t lane = 0; lane < svcntw(); ++lane) sums[lane % 4] += all[lane];
}

// Two rows with their 64-bit parts taken in turn, as SMMLA wants them: 2 x 8 values in each 128-bit segment.
inline svint8x2_t pair(svbool_t active, const int8_t* one, const int8_t* other) {
    const svint64_t a = svreinterpret_s64_s8(svld1_s8(active, one));
    const svint64_t b = svreinterpret_s64_s8(svld1_s8(active, other));
    return svcreate2_s8(svreinterpret_s8_s64(svtrn1_s64(a, b)), svreinterpret_s8_s64(svtrn2_s64(a, b)));
}

// Adds the products of two pairs of rows: a 2 x 2 block in each segment.
inline svint32_t multiply(svint32_t sum, svint8x2_t a, svint8x2_t b) {
    sum = svmmla_s32(sum, svget2_s8(a, 0), svget2_s8(b, 0));
    return svmmla_s32(sum, svget2_s8(a, 1), svget2_s8(b, 1));
}

inline void tile(const int8_t* const (&a)[rows], const int8_t* const (&b)[columns], int64_t depth,
                 int32_t (&sums)[rows][columns]) {
    svint32_t c00 = svdup_s32(0), c01 = c00, c10 = c00, c11 = c00;
    for (int64_t k = 0; k < depth; k += svcntb()) {
        const svbool_t active = svwhilelt_b8_s64(k, depth);  // lanes past the end are loaded as zero
        const svint8x2_t a0 = pair(active, a[0] + k, a[1] + k), a1 = pair(active, a[2] + k, a[3] + k);
        const svint8x2_t b0 = pair(active, b[0] + k, b[1] + k), b1 = pair(active, b[2] + k, b[3] + k);
        c00 = multiply(c00, a0, b0);
        c01 = multiply(c01, a0, b1);
        c10 = multiply(c10, a1, b0);
        c11 = multiply(c11, a1, b1);
    }
    int32_t blocks[2][2][4];
    fold(c00, blocks[0][0]);
    fold(c01, blocks[0][1]);
    fold(c10, blocks[1][0]);
    fold(c11, blocks[1][1]);
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) sums[i][j] = blocks[i / 2][j / 2][i % 2 * 2 + j % 2];
}

#elif defined(__ARM_FEATURE_SVE)

constexpr char name[] = "SVE dot product";
constexpr int rows = 2, columns = 2;

inline void tile(const int8_t* const (&a)[rows], const int8_t* const (&b)[columns], int64_t depth,
                 int32_t (&sums)[rows][columns]) {
    svint32_t c00 = svdup_s32(0), c01 = c00, c10 = c00, c11 = c00;
    for (int64_t k = 0; k < depth; k += svcntb()) {
        const svbool_t active = svwhilelt_b8_s64(k, depth);
        const svint8_t a0 = svld1_s8(active, a[0] + k), a1 = svld1_s8(active, a[1] + k);
        const svint8_t b0 = svld1_s8(active, b[0] + k), b1 = svld1_s8(active, b[1] + k);
        c00 = svdot_s32(c00, a0, b0);
        c01 = svdot_s32(c01, a0, b1);
        c10 = svdot_s32(c10, a1, b0);
        c11 = svdot_s32(c11, a1, b1);
    }
    const svbool_t whole = svptrue_b32();
    sums[0][0] = static_cast<int32_t>(svaddv_s32(whole, c00));
    sums[0][1] = static_cast<int32_t>(svaddv_s32(whole, c01));
    sums[1][0] = static_cast<int32_t>(svaddv_s32(whole, c10));
    sums[1][1] = static_cast<int32_t>(svaddv_s32(whole, c11));
}

#elif defined(__ARM_FEATURE_MATMUL_INT8)

constexpr char name[] = "Advanced SIMD int8 matrix multiply";
constexpr int rows = 4, columns = 4;

inline void tile(const int8_t* const (&a)[rows], const int8_t* const (&b)[columns], int64_t depth,
                 int32_t (&sums)[rows][columns]) {
    int32x4_t blocks[2][2] = {};
    int64_t k = 0;
    for (; k + 8 <= depth; k += 8) {
        int8x16_t left[2], right[2];
        for (int i = 0; i < 2; ++i) {
            left[i] = vcombine_s8(vld1_s8(a[2 * i] + k), vld1_s8(a[2 * i + 1] + k));
            right[i] = vcombine_s8(vld1_s8(b[2 * i] + k), vld1_s8(b[2 * i + 1] + k));
        }
        for (int i = 0; i < 2; ++i)
            for (int j = 0; j < 2; ++j) blocks[i][j] = vmmlaq_s32(blocks[i][j], left[i], right[j]);
    }
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) {
            sums[i][j] = blocks[i / 2][j / 2][i % 2 * 2 + j % 2];
            for (int64_t rest = k; rest < depth; ++rest) sums[i][j] += a[i][rest] * b[j][rest];
        }
}

#elif defined(__ARM_FEATURE_DOTPROD)

constexpr char name[] = "Advanced SIMD dot product";
constexpr int rows = 4, columns = 4;

inline void tile(const int8_t* const (&a)[rows], const int8_t* const (&b)[columns], int64_t depth,
                 int32_t (&sums)[rows][columns]) {
    int32x4_t lanes[rows][columns] = {};
    int64_t k = 0;
    for (; k + 16 <= depth; k += 16) {
        int8x16_t left[rows], right[columns];
        for (int i = 0; i < rows; ++i) left[i] = vld1q_s8(a[i] + k);
        for (int j = 0; j < columns; ++j) right[j] = vld1q_s8(b[j] + k);
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j) lanes[i][j] = vdotq_s32(lanes[i][j], left[i], right[j]);
    }
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) {
            sums[i][j] = vaddvq_s32(lanes[i][j]);
            for (int64_t rest = k; rest < depth; ++rest) sums[i][j] += a[i][rest] * b[j][rest];
        }
}

#else

constexpr char name[] = "plain C++";
constexpr int rows = 1, columns = 1;

inline void tile(const int8_t* const (&a)[rows], const int8_t* const (&b)[columns], int64_t depth,
                 int32_t (&sums)[rows][columns]) {
    int32_t sum = 0;
    for (int64_t k = 0; k < depth; ++k) sum += a[0][k] * b[0][k];
    sums[0][0] = sum;
}

#endif

}  // namespace kernel
