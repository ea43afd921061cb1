// Products of bf16 and fp16 by way of fp32, for CPUs that multiply neither.
//
// A product of m x n x k reads each element of A n times and of B m times, so widening all of both once, while they are
// packed for the multiplication, costs next to nothing. The rest is the usual product in fp32 (Goto and van de Geijn,
// Anatomy of High-Performance Matrix Multiplication, 2008): panels of A of 8 rows and of B of 12 columns, a tile of
// 8 x 12 sums in 24 of the 32 registers, five loads for 24 multiplications of four.

#include <algorithm>

#include "kernels/bf16.h"
#include "kernels/finish.h"
#include "kernels/fp16.h"
#include "kernels/kernels.h"

namespace tuned {
namespace {

constexpr int kTall = 8, kBroad = 12;
constexpr int64_t kDepth = 256;  // k at once: a panel of B is 12 KiB and stays in the first cache, A in the second

// Four lines along k, eight k of each, to [k][4] in fp32, `width` floats between one k and the next.
template <class N, int width>
void turn(const uint16_t* const (&line)[4], float* to) {
    const uint16x8_t a = vld1q_u16(line[0]), b = vld1q_u16(line[1]), c = vld1q_u16(line[2]), d = vld1q_u16(line[3]);
    const uint16x8_t ac0 = vzip1q_u16(a, c), ac1 = vzip2q_u16(a, c), bd0 = vzip1q_u16(b, d), bd1 = vzip2q_u16(b, d);
    const uint16x8_t k[4] = {vzip1q_u16(ac0, bd0), vzip2q_u16(ac0, bd0), vzip1q_u16(ac1, bd1), vzip2q_u16(ac1, bd1)};
    for (int i = 0; i < 4; ++i) {
        vst1q_f32(to + 2 * i * width, N::widen_low(k[i]));
        vst1q_f32(to + (2 * i + 1) * width, N::widen_high(k[i]));
    }
}

// Packs a panel of `width` lines: to[k][line], zero beyond `lines` and up to a multiple of eight k. Element k of line i
// is from[i * line_stride + k * k_stride]; one of the strides is 1.
template <class N, int width>
void pack(const uint16_t* from, int64_t line_stride, int64_t k_stride, int64_t lines, int64_t depth, float* to) {
    static const uint16_t zeros[8] = {};
    if (line_stride == 1 && k_stride != 1) {
        for (int64_t k = 0; k < depth; ++k, from += k_stride, to += width) {
            uint16_t edge[width] = {};
            const uint16_t* row = from;
            if (lines < width) {
                std::memcpy(edge, from, static_cast<size_t>(lines) * sizeof(uint16_t));
                row = edge;
            }
            for (int i = 0; i + 8 <= width; i += 8) {
                const uint16x8_t x = vld1q_u16(row + i);
                vst1q_f32(to + i, N::widen_low(x));
                vst1q_f32(to + i + 4, N::widen_high(x));
            }
            if (width % 8) {
                const uint16x4_t x = vld1_u16(row + width - 4);
                vst1q_f32(to + width - 4, N::widen_low(vcombine_u16(x, x)));
            }
        }
        return;
    }
    for (int64_t k = 0; k < depth; k += 8, to += 8 * width)
        for (int group = 0; group < width; group += 4) {
            const uint16_t* line[4];
            uint16_t edge[4][8] = {};
            for (int i = 0; i < 4; ++i) {
                const uint16_t* const at = from + (group + i) * line_stride + k;
                line[i] = group + i < lines ? at : zeros;
                if (group + i < lines && k + 8 > depth)
                    line[i] = static_cast<uint16_t*>(
                        std::memcpy(edge[i], at, static_cast<size_t>(depth - k) * sizeof(uint16_t)));
            }
            turn<N, width>(line, to + group);
        }
}

// Twelve sums of a row. A value, not an array: GCC 12 keeps it in registers.
struct Row {
    float32x4_t a, b, c;
};

template <int lane>
Row multiply(const Row& sum, float32x4_t x, const Row& y) {
    return {vfmaq_laneq_f32(sum.a, y.a, x, lane), vfmaq_laneq_f32(sum.b, y.b, x, lane),
            vfmaq_laneq_f32(sum.c, y.c, x, lane)};
}

Row load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8)}; }

void store(float* p, const Row& row) {
    vst1q_f32(p, row.a);
    vst1q_f32(p + 4, row.b);
    vst1q_f32(p + 8, row.c);
}

void tile(const float* a, const float* b, int64_t depth, bool add, float* c) {
    constexpr int64_t next = wide_columns;
    const float32x4_t zero = vdupq_n_f32(0);
    Row s0{zero, zero, zero}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    if (add) {
        s0 = load(c), s1 = load(c + next), s2 = load(c + 2 * next), s3 = load(c + 3 * next);
        s4 = load(c + 4 * next), s5 = load(c + 5 * next), s6 = load(c + 6 * next), s7 = load(c + 7 * next);
    }
    for (int64_t k = 0; k < depth; ++k, a += kTall, b += kBroad) {
        const float32x4_t x = vld1q_f32(a), z = vld1q_f32(a + 4);
        const Row y = load(b);
        s0 = multiply<0>(s0, x, y), s1 = multiply<1>(s1, x, y), s2 = multiply<2>(s2, x, y), s3 = multiply<3>(s3, x, y);
        s4 = multiply<0>(s4, z, y), s5 = multiply<1>(s5, z, y), s6 = multiply<2>(s6, z, y), s7 = multiply<3>(s7, z, y);
    }
    store(c, s0), store(c + next, s1), store(c + 2 * next, s2), store(c + 3 * next, s3);
    store(c + 4 * next, s4), store(c + 5 * next, s5), store(c + 6 * next, s6), store(c + 7 * next, s7);
}

template <class N>
const float* sums_of(const HalfMatrix& a, const HalfMatrix& b, int64_t m, int64_t n, int64_t k, float* scratch) {
    float* const c = scratch;
    float* const left = c + wide_rows * wide_columns;
    float* const right = left + wide_rows * kDepth;
    for (int64_t first = 0; first < k; first += kDepth) {
        const int64_t depth = std::min(kDepth, k - first);
        for (int64_t i = 0; i < m; i += kTall)
            pack<N, kTall>(a.data + i * a.row + first * a.column, a.row, a.column, m - i, depth, left + i * kDepth);
        for (int64_t j = 0; j < n; j += kBroad) {
            pack<N, kBroad>(b.data + first * b.row + j * b.column, b.column, b.row, n - j, depth, right);
            for (int64_t i = 0; i < m; i += kTall)
                tile(left + i * kDepth, right, depth, first > 0, c + i * wide_columns + j);
        }
    }
    return c;
}

}  // namespace

const int64_t wide_scratch = wide_rows * wide_columns + wide_rows * kDepth + kBroad * kDepth;

const float* wide_sums(Half type, const HalfMatrix& a, const HalfMatrix& b, int64_t m, int64_t n, int64_t k,
                       float* scratch) {
    return type == Half::bf16 ? sums_of<Bf16Numbers>(a, b, m, n, k, scratch)
                              : sums_of<Fp16Numbers>(a, b, m, n, k, scratch);
}

void wide_finish(Half type, const float* sums, int64_t m, int64_t n, const Finish& how) {
    if (type == Half::bf16)
        finish<Bf16Numbers>(sums, wide_columns, 0, m, 0, n, how);
    else
        finish<Fp16Numbers>(sums, wide_columns, 0, m, 0, n, how);
}

void wide_finish(const float* sums, int64_t m, int64_t n, float alpha, float beta, float* out, int64_t ldo) {
    for (int64_t i = 0; i < m; ++i, sums += wide_columns, out += ldo)
        for (int64_t j = 0; j < n; ++j) {
            const float value = alpha * sums[j];
            out[j] = beta == 0 ? value : __builtin_fmaf(beta, out[j], value);
        }
}

}  // namespace tuned
