// Products of few rows, as an inference of one request makes them: A is a row or a few, B a whole weight.
//
// Each element of B is used once for each row of A, so memory sets the pace and packing B would cost more than the
// product. B is read where it lies. If its columns are contiguous (the weight of a linear layer, transposed), each sum
// is a dot product along them; if its rows are, a block of columns is kept in registers while k goes down.

#include <algorithm>

#include "kernels/bf16.h"
#include "kernels/finish.h"
#include "kernels/fp16.h"
#include "kernels/kernels.h"

namespace tuned {
namespace {

constexpr int kBlock = 64;    // columns whose sums are kept in fp32 before they are rounded
constexpr int kTogether = 4;  // rows of A that share a pass over B

using Sums = float[kTogether][kBlock];

// R x C dot products by Advanced SIMD, of row `first` of A and those after it. What is left of the depth goes through buffers that end in zeros.
template <class K, int R, int C, int first = 0>
void dots(const uint16_t* const (&a)[kTogether], const uint16_t* const (&b)[8], int64_t depth, Sums& sums, int at) {
    typename K::Sum s[R][C];
    for (auto& row : s)
        for (auto& sum : row) sum = K::zero();
    const auto step = [&s](const uint16_t* const (&left)[R], const uint16_t* const (&right)[C], int64_t k)
                          __attribute__((always_inline)) {
        typename K::Operand x[R];
        for (int i = 0; i < R; ++i) x[i] = K::load(left[i] + k);
        for (int j = 0; j < C; ++j) {
            const typename K::Operand y = K::load(right[j] + k);
            for (int i = 0; i < R; ++i) s[i][j] = K::dot(s[i][j], y, x[i]);
        }
    };
    // Copies, so that they are in registers: the last step needs addresses of its own.
    const uint16_t *left[R], *right[C];
    for (int i = 0; i < R; ++i) left[i] = a[first + i];
    for (int j = 0; j < C; ++j) right[j] = b[j];
    int64_t k = 0;
    for (; k + 8 <= depth; k += 8) step(left, right, k);
    if (k < depth) {
        uint16_t rest[R + C][8] = {};
        const uint16_t *last_left[R], *last_right[C];
        const size_t bytes = static_cast<size_t>(depth - k) * sizeof(uint16_t);
        for (int i = 0; i < R; ++i) last_left[i] = static_cast<uint16_t*>(std::memcpy(rest[i], left[i] + k, bytes));
        for (int j = 0; j < C; ++j) last_right[j] = static_cast<uint16_t*>(std::memcpy(rest[R + j], b[j] + k, bytes));
        step(last_left, last_right, 0);
    }
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < C; ++j) sums[first + i][at + j] = K::total(s[i][j]);
}

template <class K>
struct Dots {
    static void one(const uint16_t* const (&a)[kTogether], const uint16_t* const (&b)[8], int64_t depth, Sums& sums,
                    int at) {
        dots<K, 1, 8>(a, b, depth, sums, at);
    }
    static void two(const uint16_t* const (&a)[kTogether], const uint16_t* const (&b)[8], int64_t depth, Sums& sums,
                    int at) {
        dots<K, 2, 4>(a, b, depth, sums, at);
    }
    // Where a sum takes two registers, sixteen of them leave none for the factors.
    static void four(const uint16_t* const (&a)[kTogether], const uint16_t* const (&b)[8], int64_t depth, Sums& sums,
                     int at) {
        if (sizeof(typename K::Sum) == sizeof(float32x4_t)) return dots<K, 4, 4>(a, b, depth, sums, at);
        dots<K, 2, 4>(a, b, depth, sums, at);
        dots<K, 2, 4, 2>(a, b, depth, sums, at);
    }
};

#if defined(__ARM_FEATURE_SVE) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)

// The same for vectors whose length is known at run time alone. Such a type cannot stand in an array, hence the names.
template <class V>
struct VectorDots {
    static void one(const uint16_t* const (&a)[kTogether], const uint16_t* const (&b)[8], int64_t depth, Sums& sums,
                    int at) {
        auto s0 = V::zero(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
        const int64_t width = V::width();
        for (int64_t k = 0; k < depth; k += width) {
            const auto on = V::active(k, depth);
            const auto x = V::load(on, a[0] + k);
            s0 = V::dot(s0, V::load(on, b[0] + k), x);
            s1 = V::dot(s1, V::load(on, b[1] + k), x);
            s2 = V::dot(s2, V::load(on, b[2] + k), x);
            s3 = V::dot(s3, V::load(on, b[3] + k), x);
            s4 = V::dot(s4, V::load(on, b[4] + k), x);
            s5 = V::dot(s5, V::load(on, b[5] + k), x);
            s6 = V::dot(s6, V::load(on, b[6] + k), x);
            s7 = V::dot(s7, V::load(on, b[7] + k), x);
        }
        float* out = &sums[0][at];
        out[0] = V::total(s0), out[1] = V::total(s1), out[2] = V::total(s2), out[3] = V::total(s3);
        out[4] = V::total(s4), out[5] = V::total(s5), out[6] = V::total(s6), out[7] = V::total(s7);
    }

    static void two(const uint16_t* const (&a)[kTogether], const uint16_t* const (&b)[8], int64_t depth, Sums& sums,
                    int at) {
        auto s0 = V::zero(), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
        const int64_t width = V::width();
        for (int64_t k = 0; k < depth; k += width) {
            const auto on = V::active(k, depth);
            const auto x = V::load(on, a[0] + k), y = V::load(on, a[1] + k);
            auto w = V::load(on, b[0] + k);
            s0 = V::dot(s0, w, x), t0 = V::dot(t0, w, y), w = V::load(on, b[1] + k);
            s1 = V::dot(s1, w, x), t1 = V::dot(t1, w, y), w = V::load(on, b[2] + k);
            s2 = V::dot(s2, w, x), t2 = V::dot(t2, w, y), w = V::load(on, b[3] + k);
            s3 = V::dot(s3, w, x), t3 = V::dot(t3, w, y);
        }
        float *out = &sums[0][at], *next = &sums[1][at];
        out[0] = V::total(s0), out[1] = V::total(s1), out[2] = V::total(s2), out[3] = V::total(s3);
        next[0] = V::total(t0), next[1] = V::total(t1), next[2] = V::total(t2), next[3] = V::total(t3);
    }

    static void four(const uint16_t* const (&a)[kTogether], const uint16_t* const (&b)[8], int64_t depth, Sums& sums,
                     int at) {
        auto s0 = V::zero(), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
        auto u0 = s0, u1 = s0, u2 = s0, u3 = s0, v0 = s0, v1 = s0, v2 = s0, v3 = s0;
        const int64_t width = V::width();
        for (int64_t k = 0; k < depth; k += width) {
            const auto on = V::active(k, depth);
            const auto x0 = V::load(on, a[0] + k), x1 = V::load(on, a[1] + k);
            const auto x2 = V::load(on, a[2] + k), x3 = V::load(on, a[3] + k);
            auto w = V::load(on, b[0] + k);
            s0 = V::dot(s0, w, x0), t0 = V::dot(t0, w, x1), u0 = V::dot(u0, w, x2), v0 = V::dot(v0, w, x3);
            w = V::load(on, b[1] + k);
            s1 = V::dot(s1, w, x0), t1 = V::dot(t1, w, x1), u1 = V::dot(u1, w, x2), v1 = V::dot(v1, w, x3);
            w = V::load(on, b[2] + k);
            s2 = V::dot(s2, w, x0), t2 = V::dot(t2, w, x1), u2 = V::dot(u2, w, x2), v2 = V::dot(v2, w, x3);
            w = V::load(on, b[3] + k);
            s3 = V::dot(s3, w, x0), t3 = V::dot(t3, w, x1), u3 = V::dot(u3, w, x2), v3 = V::dot(v3, w, x3);
        }
        float *o0 = &sums[0][at], *o1 = &sums[1][at], *o2 = &sums[2][at], *o3 = &sums[3][at];
        o0[0] = V::total(s0), o0[1] = V::total(s1), o0[2] = V::total(s2), o0[3] = V::total(s3);
        o1[0] = V::total(t0), o1[1] = V::total(t1), o1[2] = V::total(t2), o1[3] = V::total(t3);
        o2[0] = V::total(u0), o2[1] = V::total(u1), o2[2] = V::total(u2), o2[3] = V::total(u3);
        o3[0] = V::total(v0), o3[1] = V::total(v1), o3[2] = V::total(v2), o3[3] = V::total(v3);
    }
};

#endif

template <class Numbers, class D>
void by_columns(const uint16_t* a, int64_t lda, int64_t rows, const uint16_t* b, int64_t ldb, int64_t depth,
                int64_t from, int64_t to, const Finish& how) {
    Sums sums;
    for (int64_t left = from; left < to; left += kBlock) {
        const int64_t right = std::min<int64_t>(left + kBlock, to);
        for (int64_t top = 0; top < rows; top += kTogether) {
            const int64_t height = std::min<int64_t>(kTogether, rows - top);
            // At the edge the last row or column stands in for those beyond it; what it gives there is not stored.
            const uint16_t* x[kTogether];
            for (int i = 0; i < kTogether; ++i) x[i] = a + (top + std::min<int64_t>(i, height - 1)) * lda;
            const int step = height == 1 ? 8 : 4;
            for (int64_t j = left; j < right; j += step) {
                const uint16_t* y[8];
                for (int c = 0; c < 8; ++c) y[c] = b + std::min<int64_t>(j + c, right - 1) * ldb;
                const int at = static_cast<int>(j - left);
                if (height == 1) {
                    D::one(x, y, depth, sums, at);
                } else if (height == 2) {
                    D::two(x, y, depth, sums, at);
                } else {
                    D::four(x, y, depth, sums, at);
                }
            }
            finish<Numbers>(&sums[0][0], kBlock, top, height, left, right, how);
        }
    }
}

// Sums of R rows and 8 * C columns, k going down the rows of B.
template <class K, int R, int C>
void columns(const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, int64_t depth, Sums& sums, int at) {
    typename K::Columns s[R][C];
    for (auto& row : s)
        for (auto& sum : row) sum = K::no_columns();
    for (int64_t k = 0; k < depth; ++k, b += ldb) {
        typename K::Operand x[R];
        for (int i = 0; i < R; ++i) x[i] = K::same(a + i * lda + k);
        for (int j = 0; j < C; ++j) {
            const typename K::Operand y = K::load(b + 8 * j);
            for (int i = 0; i < R; ++i) s[i][j] = K::multiply(s[i][j], y, x[i]);
        }
    }
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < C; ++j) K::store(&sums[i][at + 8 * j], s[i][j]);
}

// Fewer than eight columns, one by one.
template <class K>
void narrow_columns(const uint16_t* a, int64_t lda, int64_t rows, const uint16_t* b, int64_t ldb, int64_t depth,
                    int64_t width, Sums& sums, int at) {
    for (int64_t i = 0; i < rows; ++i) std::fill_n(&sums[i][at], width, 0.0F);
    for (int64_t k = 0; k < depth; ++k)
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < width; ++j)
                sums[i][at + j] =
                    __builtin_fmaf(K::widen(a[i * lda + k]), K::widen(b[k * ldb + j]), sums[i][at + j]);
}

template <class K>
void by_rows(const uint16_t* a, int64_t lda, int64_t rows, const uint16_t* b, int64_t ldb, int64_t depth, int64_t from,
             int64_t to, const Finish& how) {
    Sums sums;
    for (int64_t left = from; left < to; left += kBlock) {
        const int64_t right = std::min<int64_t>(left + kBlock, to), width = right - left;
        for (int64_t top = 0; top < rows;) {
            const uint16_t* x = a + top * lda;
            const int64_t height = rows - top >= 4 ? 4 : rows - top >= 2 ? 2 : 1;
            int64_t j = 0;
            for (; height == 1 && j + 32 <= width; j += 32)
                columns<K, 1, 4>(x, lda, b + left + j, ldb, depth, sums, static_cast<int>(j));
            for (; height == 2 && j + 32 <= width; j += 32)
                columns<K, 2, 4>(x, lda, b + left + j, ldb, depth, sums, static_cast<int>(j));
            for (; height == 4 && j + 16 <= width; j += 16)
                columns<K, 4, 2>(x, lda, b + left + j, ldb, depth, sums, static_cast<int>(j));
            for (; j + 8 <= width; j += 8) {
                const uint16_t* y = b + left + j;
                const int at = static_cast<int>(j);
                if (height == 4) columns<K, 4, 1>(x, lda, y, ldb, depth, sums, at);
                if (height == 2) columns<K, 2, 1>(x, lda, y, ldb, depth, sums, at);
                if (height == 1) columns<K, 1, 1>(x, lda, y, ldb, depth, sums, at);
            }
            if (j < width) narrow_columns<K>(x, lda, height, b + left + j, ldb, depth, width - j, sums, static_cast<int>(j));
            finish<K>(&sums[0][0], kBlock, top, height, left, right, how);
            top += height;
        }
    }
}

#if defined(__ARM_FEATURE_SVE) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
using Bf16Dots = VectorDots<Bf16Vectors>;
constexpr const char* kBf16Name = Bf16Vectors::name;
#else
using Bf16Dots = Dots<Bf16Products>;
constexpr const char* kBf16Name = Bf16Products::name;
#endif

}  // namespace

const char* const products_bf16 = kBf16Name;
const char* const products_fp16 = Fp16Products::name;

void few_rows_by_columns(Half type, const uint16_t* a, int64_t lda, int64_t rows, const uint16_t* b, int64_t ldb,
                         int64_t depth, int64_t from, int64_t to, const Finish& how) {
    if (type == Half::bf16)
        by_columns<Bf16Numbers, Bf16Dots>(a, lda, rows, b, ldb, depth, from, to, how);
    else
        by_columns<Fp16Numbers, Dots<Fp16Products>>(a, lda, rows, b, ldb, depth, from, to, how);
}

void few_rows_by_rows(Half type, const uint16_t* a, int64_t lda, int64_t rows, const uint16_t* b, int64_t ldb,
                      int64_t depth, int64_t from, int64_t to, const Finish& how) {
    if (type == Half::bf16)
        by_rows<Bf16Products>(a, lda, rows, b, ldb, depth, from, to, how);
    else
        by_rows<Fp16Products>(a, lda, rows, b, ldb, depth, from, to, how);
}

}  // namespace tuned
