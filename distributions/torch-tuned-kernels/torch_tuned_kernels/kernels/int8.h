// Micro-kernels of int8: a tile of a product, summed in int32. Addition wraps as int32 does, so no order and no
// blocking changes a result.
//
// Three ways, by what -mcpu offers. Each says how A and B must be packed (`unit` values of k together, zeros beyond the
// edges), and multiplies a tile of `rows` rows and `columns()` columns:
//
//   SMMLA (FEAT_I8MM)       a 2 x 8 block times an 8 x 2 block in each 128 bits, here with SVE vectors of any length
//   SDOT (FEAT_DotProd)     four products added to each lane
//   SMLAL                   one product a lane, values widened to int16 before: any 64-bit Arm
//
// Arm Architecture Reference Manual, SMMLA, SDOT (by element) and SMLAL (by element).

#pragma once

#include <arm_neon.h>
#if defined(__ARM_FEATURE_SVE)
#include <arm_sve.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace tuned {

// `height` x `width` values of a matrix with these strides, the rest of H x W zero.
template <int H, int W>
struct Corner {
    int8_t value[H][W] = {};
    Corner(const int8_t* from, int64_t row, int64_t column, int64_t height, int64_t width) {
        for (int64_t i = 0; i < std::min<int64_t>(height, H); ++i)
            for (int64_t j = 0; j < std::min<int64_t>(width, W); ++j) value[i][j] = from[i * row + j * column];
    }
};

#if defined(__ARM_FEATURE_SVE) && defined(__ARM_FEATURE_MATMUL_INT8)

struct Int8Tile {
    static constexpr char name[] = "SVE SMMLA";
    using Packed = int8_t;
    static constexpr int rows = 8, unit = 8, most_columns = 128;
    static int columns() { return static_cast<int>(svcntb() / 2); }  // four vectors of pairs of columns

    // Eight rows: for every eight k, four pairs of rows of 2 x 8 values.
    static void pack_rows(const int8_t* a, int64_t lda, int64_t height, int64_t depth, Packed* to) {
        for (int64_t k = 0; k < depth; k += unit, to += rows * unit) {
            if (height >= rows && k + unit <= depth) {
                for (int i = 0; i < rows; ++i) vst1_s8(to + i * unit, vld1_s8(a + i * lda + k));
            } else {
                const Corner<rows, unit> corner(a + k, lda, 1, height, depth - k);
                std::memcpy(to, corner.value, sizeof corner.value);
            }
        }
    }

    // Eight k of eight columns from a matrix with contiguous rows: columns become contiguous.
    static void turn(const int8_t* b, int64_t ldb, Packed* to) {
        int8x16_t r[8];
        for (int i = 0; i < 8; ++i) r[i] = vcombine_s8(vld1_s8(b + i * ldb), vdup_n_s8(0));
        const int8x16_t r04 = vzip1q_s8(r[0], r[4]), r15 = vzip1q_s8(r[1], r[5]);
        const int8x16_t r26 = vzip1q_s8(r[2], r[6]), r37 = vzip1q_s8(r[3], r[7]);
        const int8x16_t even0 = vzip1q_s8(r04, r26), even1 = vzip2q_s8(r04, r26);
        const int8x16_t odd0 = vzip1q_s8(r15, r37), odd1 = vzip2q_s8(r15, r37);
        vst1q_s8(to, vzip1q_s8(even0, odd0));
        vst1q_s8(to + 16, vzip2q_s8(even0, odd0));
        vst1q_s8(to + 32, vzip1q_s8(even1, odd1));
        vst1q_s8(to + 48, vzip2q_s8(even1, odd1));
    }

    // A panel of columns(): for every eight k, each column's eight values.
    static void pack_columns(const int8_t* b, int64_t row, int64_t column, int64_t width, int64_t depth, Packed* to) {
        const int n = columns();
        for (int64_t k = 0; k < depth; k += unit)
            for (int j = 0; j < n; j += 8, to += 8 * unit) {
                const int8_t* from = b + k * row + j * column;
                const bool whole = j + 8 <= width && k + unit <= depth;
                if (whole && column == 1) {
                    turn(from, row, to);
                } else if (whole && row == 1) {
                    for (int c = 0; c < 8; ++c) vst1_s8(to + c * unit, vld1_s8(from + c * column));
                } else {
                    const Corner<8, unit> corner(from, column, row, width - j, depth - k);
                    std::memcpy(to, corner.value, sizeof corner.value);
                }
            }
    }

    // Two rows of two accumulators of 2 x 2 blocks each: even 64-bit parts are the upper row.
    static void store(svint32_t left, svint32_t right, bool add, int32_t* upper, int32_t* lower) {
        const svbool_t all = svptrue_b32();
        const svint64_t l = svreinterpret_s64_s32(left), r = svreinterpret_s64_s32(right);
        svint32_t up = svreinterpret_s32_s64(svuzp1_s64(l, r)), low = svreinterpret_s32_s64(svuzp2_s64(l, r));
        if (add) {
            up = svadd_s32_x(all, up, svld1_s32(all, upper));
            low = svadd_s32_x(all, low, svld1_s32(all, lower));
        }
        svst1_s32(all, upper, up);
        svst1_s32(all, lower, low);
    }

    static void multiply(const Packed* a, const Packed* b, int64_t depth, bool add, int32_t* out, int64_t ldo) {
        svint32_t p0 = svdup_n_s32(0), p1 = p0, p2 = p0, p3 = p0, q0 = p0, q1 = p0, q2 = p0, q3 = p0;
        svint32_t r0 = p0, r1 = p0, r2 = p0, r3 = p0, s0 = p0, s1 = p0, s2 = p0, s3 = p0;
        const svbool_t all = svptrue_b8();
        const int64_t step = static_cast<int64_t>(columns()) * unit;
        for (int64_t k = 0; k < depth; k += unit, a += rows * unit, b += step) {
            const svint8_t y0 = svld1_vnum_s8(all, b, 0), y1 = svld1_vnum_s8(all, b, 1);
            const svint8_t y2 = svld1_vnum_s8(all, b, 2), y3 = svld1_vnum_s8(all, b, 3);
            const svint8_t x0 = svld1rq_s8(all, a), x1 = svld1rq_s8(all, a + 16);
            const svint8_t x2 = svld1rq_s8(all, a + 32), x3 = svld1rq_s8(all, a + 48);
            p0 = svmmla_s32(p0, x0, y0), p1 = svmmla_s32(p1, x0, y1);
            p2 = svmmla_s32(p2, x0, y2), p3 = svmmla_s32(p3, x0, y3);
            q0 = svmmla_s32(q0, x1, y0), q1 = svmmla_s32(q1, x1, y1);
            q2 = svmmla_s32(q2, x1, y2), q3 = svmmla_s32(q3, x1, y3);
            r0 = svmmla_s32(r0, x2, y0), r1 = svmmla_s32(r1, x2, y1);
            r2 = svmmla_s32(r2, x2, y2), r3 = svmmla_s32(r3, x2, y3);
            s0 = svmmla_s32(s0, x3, y0), s1 = svmmla_s32(s1, x3, y1);
            s2 = svmmla_s32(s2, x3, y2), s3 = svmmla_s32(s3, x3, y3);
        }
        const int64_t half = columns() / 2;
        store(p0, p1, add, out, out + ldo), store(p2, p3, add, out + half, out + ldo + half), out += 2 * ldo;
        store(q0, q1, add, out, out + ldo), store(q2, q3, add, out + half, out + ldo + half), out += 2 * ldo;
        store(r0, r1, add, out, out + ldo), store(r2, r3, add, out + half, out + ldo + half), out += 2 * ldo;
        store(s0, s1, add, out, out + ldo), store(s2, s3, add, out + half, out + ldo + half);
    }
};

#elif defined(__ARM_FEATURE_DOTPROD)

struct Int8Tile {
    static constexpr char name[] = "Advanced SIMD SDOT";
    using Packed = int8_t;
    static constexpr int rows = 4, unit = 16, most_columns = 16;
    static constexpr int columns() { return 16; }

    // Four rows: for every sixteen k, the rows one after the other.
    static void pack_rows(const int8_t* a, int64_t lda, int64_t height, int64_t depth, Packed* to) {
        for (int64_t k = 0; k < depth; k += unit, to += rows * unit) {
            if (height >= rows && k + unit <= depth) {
                for (int i = 0; i < rows; ++i) vst1q_s8(to + i * unit, vld1q_s8(a + i * lda + k));
            } else {
                const Corner<rows, unit> corner(a + k, lda, 1, height, depth - k);
                std::memcpy(to, corner.value, sizeof corner.value);
            }
        }
    }

    // Sixteen columns: for every four k, each column's four values.
    static void pack_columns(const int8_t* b, int64_t row, int64_t column, int64_t width, int64_t depth, Packed* to) {
        const int64_t padded = (depth + unit - 1) / unit * unit;
        for (int64_t k = 0; k < padded; k += 4, to += 64) {
            const int8_t* from = b + k * row;
            if (width >= 16 && k + 4 <= depth && column == 1) {
                const int8x16x4_t four = {{vld1q_s8(from), vld1q_s8(from + row), vld1q_s8(from + 2 * row),
                                           vld1q_s8(from + 3 * row)}};
                vst4q_s8(to, four);
            } else if (width >= 16 && k + 4 <= depth && row == 1) {
                for (int j = 0; j < 16; ++j) std::memcpy(to + 4 * j, from + j * column, 4);
            } else {
                const Corner<16, 4> corner(from, column, row, width, depth - k);
                std::memcpy(to, corner.value, sizeof corner.value);
            }
        }
    }

    template <int lane>
    static void four(const int8x16_t (&x)[rows], const Packed* b, int32x4_t (&s)[rows][4]) {
        for (int j = 0; j < 4; ++j) {
            const int8x16_t y = vld1q_s8(b + 64 * lane + 16 * j);
            for (int i = 0; i < rows; ++i) s[i][j] = vdotq_laneq_s32(s[i][j], y, x[i], lane);
        }
    }

    static void multiply(const Packed* a, const Packed* b, int64_t depth, bool add, int32_t* out, int64_t ldo) {
        int32x4_t s[rows][4];
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < 4; ++j) s[i][j] = add ? vld1q_s32(out + i * ldo + 4 * j) : vdupq_n_s32(0);
        for (int64_t k = 0; k < depth; k += unit, a += rows * unit, b += 16 * unit) {
            int8x16_t x[rows];
            for (int i = 0; i < rows; ++i) x[i] = vld1q_s8(a + i * unit);
            four<0>(x, b, s), four<1>(x, b, s), four<2>(x, b, s), four<3>(x, b, s);
        }
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < 4; ++j) vst1q_s32(out + i * ldo + 4 * j, s[i][j]);
    }
};

#else

struct Int8Tile {
    static constexpr char name[] = "Advanced SIMD SMLAL";
    using Packed = int16_t;
    static constexpr int rows = 4, unit = 1, most_columns = 16;
    static constexpr int columns() { return 16; }

    static void pack_rows(const int8_t* a, int64_t lda, int64_t height, int64_t depth, Packed* to) {
        for (int64_t k = 0; k < depth; ++k)
            for (int64_t i = 0; i < rows; ++i) *to++ = i < height ? a[i * lda + k] : int8_t{0};
    }

    static void pack_columns(const int8_t* b, int64_t row, int64_t column, int64_t width, int64_t depth, Packed* to) {
        for (int64_t k = 0; k < depth; ++k, b += row, to += 16) {
            if (width >= 16 && column == 1) {
                const int8x16_t values = vld1q_s8(b);
                vst1q_s16(to, vmovl_s8(vget_low_s8(values)));
                vst1q_s16(to + 8, vmovl_high_s8(values));
            } else {
                for (int64_t j = 0; j < 16; ++j) to[j] = j < width ? b[j * column] : int8_t{0};
            }
        }
    }

    template <int row>
    static void multiply_row(int16x4_t x, int16x8_t y, int16x8_t z, int32x4_t (&s)[4]) {
        s[0] = vmlal_lane_s16(s[0], vget_low_s16(y), x, row);
        s[1] = vmlal_high_lane_s16(s[1], y, x, row);
        s[2] = vmlal_lane_s16(s[2], vget_low_s16(z), x, row);
        s[3] = vmlal_high_lane_s16(s[3], z, x, row);
    }

    static void multiply(const Packed* a, const Packed* b, int64_t depth, bool add, int32_t* out, int64_t ldo) {
        int32x4_t s[rows][4];
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < 4; ++j) s[i][j] = add ? vld1q_s32(out + i * ldo + 4 * j) : vdupq_n_s32(0);
        for (int64_t k = 0; k < depth; ++k, a += rows, b += 16) {
            const int16x4_t x = vld1_s16(a);
            const int16x8_t y = vld1q_s16(b), z = vld1q_s16(b + 8);
            multiply_row<0>(x, y, z, s[0]), multiply_row<1>(x, y, z, s[1]);
            multiply_row<2>(x, y, z, s[2]), multiply_row<3>(x, y, z, s[3]);
        }
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < 4; ++j) vst1q_s32(out + i * ldo + 4 * j, s[i][j]);
    }
};

#endif

}  // namespace tuned
